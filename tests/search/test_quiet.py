"""Silence between real processes, none of which loads torch."""

from worker_jobs import die_at_work, listen_in_silence, work

from speechpress.compressor.cluster.executor import Job, open_executor, run_jobs


def test_nobody_works_while_one_wants_silence_whoever_was_killed_before(tmp_path):
    log, until = tmp_path / "log", tmp_path / "until"
    with open_executor("processes", 2, tmp_path / "words") as workers:
        assert run_jobs(workers, [Job("killed", die_at_work, (tmp_path, tmp_path / "begun"))])["killed"] == "done"
        jobs = [Job("work", work, (tmp_path, log, until)), Job("silence", listen_in_silence, (tmp_path, log, until))]
        found = run_jobs(workers, jobs)
    assert found["silence"] == 0 and log.stat().st_size > 0
