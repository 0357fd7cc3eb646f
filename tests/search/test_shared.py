"""Searches in real processes share one study: a journal file, or a database."""

import pytest
from sharing import OF, SPACE, draw, made, sampler

from speechpress.compressor.cluster.executor import Job, open_executor, run_jobs
from speechpress.compressor.search.shared import open_storage
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    with open_executor("processes", 2, tmp_path_factory.mktemp("workers") / "log") as workers:
        yield workers


@pytest.mark.parametrize(("kind", "trials"), [("journal:{}/study.log", 99), ("sqlite:///{}/study.db", 11)])
def test_two_processes_share_trials_and_do_none_twice(pair, tmp_path, kind, trials):
    storage = kind.format(tmp_path)
    states = ("done", "failed", "skipped", "done")
    found = run_jobs(pair, [Job(name, draw, (storage, name, trials, states)) for name in "ab"])
    both = [*found["a"], *found["b"]]
    assert len(both) == min(trials, SPACE.size) and found["a"] and found["b"]
    assert len({shape for _, shape in both}) == len({number for number, _ in both}) == len(both)
    # Either knows what came of the other's.
    rows = sampler(storage, "c", trials).others([])
    assert sorted((row["trial"], tuple(row["shape"].values())) for row in rows) == sorted(both)


def test_what_a_killed_search_had_begun_is_done_when_it_goes_on(tmp_path):
    storage = f"journal:{tmp_path}/study.log"
    first = sampler(storage, "here", 3)
    done, begun = first.next(), first.next()
    row = made(first.number(done), done)
    del first  # killed: one was done and its row written in the folder, but not told; the other was running
    other = sampler(storage, "there", 3)
    left = other.next()
    assert left not in (done, begun) and other.next() is None and other.full
    again = sampler(storage, "here", 3, rows=[row])
    assert [found["trial"] for found in again.others([])] == [row["trial"]]
    last = again.claim(begun)
    assert last == begun and again.number(last) == 3 and again.next() is None
    again.give_back()
    assert other.next() is not None


def test_a_study_of_another_search_is_refused(tmp_path):
    storage = f"journal:{tmp_path}/study.log"
    sampler(storage, "a")
    sampler(storage, "b")
    for change, said in (
        ({"budget_ms": 12.0}, r"budget_ms: 10\.0 -> 12\.0"),
        ({"space": {"layers": [1]}, "data": "e" * 64}, "another data; another space"),
        ({"teacher": "u" * 64}, "another teacher"),
        ({"recipe": {"train": {"lr": 2}}}, "another recipe"),
    ):
        with pytest.raises(SpeechpressError, match=rf"--study shared: is that of another search \({said}\)"):
            sampler(storage, "c", of=OF | change)
    sampler(storage, "c", of=OF | {"budget_ms": 12.0}, study="another")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("study.log", "must be journal:FILE"),
        ("journal:", "must be journal:FILE"),
        ("journal:{}/no/study.log", "cannot be opened"),
        ("sqlite:///{}/no/study.db", "cannot be opened"),
        ("nodatabase://me:secret@host/name", r"nodatabase://\.\.\.@host/name: cannot be opened"),
    ],
)
def test_a_storage_that_cannot_be_is_said_without_its_password(tmp_path, address, said):
    with pytest.raises(SpeechpressError, match=said) as error:
        open_storage(address.format(tmp_path))
    assert "secret" not in str(error.value)
