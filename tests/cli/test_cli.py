import json
import subprocess
import sys

import pytest
import soundfile
import yaml
from hostile import command, reverb
from lhotse import Recording

QUICK = [
    "--set",
    "train.steps=2",
    "--set",
    "train.precision=fp32",
    "--set",
    "train.batch=2",
    "--set",
    "train.crop_s=0.5",
]


def distill(cli, teacher, clips, *more, **options):
    words = ["distill", "--recipe", "distilhubert", "--teacher", teacher, "--data", clips, "--device", "cpu", *QUICK]
    return cli(*words, *more, **options)


def one_document(done):
    """Exactly one JSON document on stdout."""
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_distil_then_show_eval_and_convert(cli, tmp_path, tiny_teacher, few_clips):
    document = one_document(distill(cli, tiny_teacher, few_clips, "--json"))
    assert document["out"] == "runs/distilhubert" and document["steps"] == 2
    assert set(document["valid"]["start"]) == {"1", "3", "4"} == set(document["valid"]["end"])
    assert document["audio_s_per_s"] > 0 and "voices" not in document  # those are of --starter
    shown = one_document(cli("show", "runs/distilhubert", "--json"))
    assert shown["parameters"] == document["parameters"] and set(shown["size_bytes"]) == {"fp32", "fp16", "int8"}
    again = one_document(distill(cli, tiny_teacher, few_clips, "--json"))
    assert again["out"] == "runs/distilhubert-2"
    done = cli("convert", "runs/distilhubert", "student.ckpt", "--json")
    assert one_document(done)["format"] == "s3prl" and (tmp_path / "student.ckpt").stat().st_size > 1000


def test_people_see_plan_progress_and_what_to_do_next(cli, tiny_teacher, few_clips):
    done = distill(cli, tiny_teacher, few_clips, "--out", "here")
    for words in ("4, 8, 12 of 12 -> 1, 3, 4 of 4", "held out, step 0", "step 2/2", "compress eval here"):
        assert words in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_dry_run_writes_nothing(cli, tmp_path, tiny_teacher, few_clips):
    document = one_document(distill(cli, tiny_teacher, few_clips, "--dry-run", "--json"))
    assert not any(tmp_path.iterdir())
    for key in ("steps", "train_h", "macs_per_s", "lookahead_ms", "peak_memory_bytes", "first_loss"):
        assert key in document
    assert document["student"]["layers"] == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["distill", "--recipe", "distilhuber", "--starter"], 1, "distilhubert"),
        (["distill", "--recipe", "distilhubert"], 1, "--starter"),
        (["distill", "--recipe", "distilhubert", "--starter", "--set", "train.step=3"], 1, "steps"),
        (["distill", "--recipe", "distilhubert", "--starter", "--set", "match.layers=[7]"], 1, "has 6 layers"),
        (["distill", "--recipe", "distilhubert", "--starter", "--resume"], 1, "no unfinished run"),
        (["distill", "--recipe", "distilhubert", "--starter", "--device", "cuda"], 1, "--device cpu"),
        (["distill", "--recipe", "distilhubert", "--teacher", "no/such-model", "--starter"], 1, "no/such-model"),
        (["eval"], 1, "compress distill"),
        (["show", "nothing-of-the-kind"], 1, "nothing-of-the-kind"),
        (["distil"], 2, "distill"),
        (["cp", "distilhubert"], 2, "destination"),
    ],
)
def test_errors_are_one_clean_line_that_says_what_to_do(cli, words, code, said):
    done = cli(*words, env={"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "300"})
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr


def test_an_error_with_json_is_a_document_too(cli):
    done = cli("show", "nothing", "--json")
    assert "nothing" in one_document(done)["error"] and done.returncode == 1


def test_debug_shows_the_trace_wherever_it_stands(cli):
    assert "Traceback" in cli("show", "nothing", "--debug").stderr
    assert "Traceback" in cli("--debug", "show", "nothing").stderr


def test_a_folder_without_audio_says_what_was_looked_for(cli, tmp_path, tiny_teacher):
    (tmp_path / "empty").mkdir()
    done = distill(cli, tiny_teacher, tmp_path / "empty")
    assert done.returncode == 1 and ".flac" in done.stderr and "empty" in done.stderr


def test_bad_recordings_are_counted_and_the_rest_is_used(cli, tmp_path, tiny_teacher, few_clips):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for path in sorted(few_clips.iterdir())[:6]:
        samples, rate = soundfile.read(path)
        soundfile.write(mixed / f"{path.stem}.wav", samples, rate)
    (mixed / "broken.wav").write_bytes(b"RIFF of nothing")
    (mixed / "empty.flac").write_bytes(b"")
    done = distill(cli, tiny_teacher, mixed, "--json", "--out", "run")
    assert done.returncode == 0 and "broken.wav" in done.stderr
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert sorted(item["path"].split("/")[-1] for item in card["data"]["skipped"]) == ["broken.wav", "empty.flac"]


def test_a_strangers_manifest_runs_nothing_and_its_test_part_is_said(cli, tmp_path, tiny_teacher, few_clips):
    clips = sorted(few_clips.iterdir())[:8]
    lines = [json.loads(json.dumps(Recording.from_file(path).to_cut().to_dict())) for path in clips]
    for index, line in enumerate(lines):
        spoken = {"id": line["id"], "recording_id": line["id"], "start": 0, "duration": line["duration"], "channel": 0}
        line["supervisions"] = [{**spoken, "custom": {"split": "test" if index % 2 else "train"}}]
    lines[0]["recording"]["transforms"] = [reverb(command(tmp_path / "owned"))]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = distill(cli, tiny_teacher, tmp_path / "c.jsonl", "--json", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "owned").exists() and "ReverbWithImpulseResponse" in done.stderr
    notes = json.loads((tmp_path / "run" / "card.json").read_text())["notes"]
    left = [note for note in notes if "on neither side: 4 recordings" in note and "marked as test" in note]
    assert len(left) == 1 and left[0] in " ".join(done.stderr.split())


def test_a_read_only_place_is_a_clean_error(cli, tmp_path, tiny_teacher, few_clips):
    (tmp_path / "file").write_text("")
    done = distill(cli, tiny_teacher, few_clips, "--out", tmp_path / "file" / "run")
    assert done.returncode == 1 and "--out" in done.stderr and "Traceback" not in done.stderr


def test_cp_then_distil_with_the_copy(cli, tmp_path, tiny_teacher, few_clips):
    assert cli("cp", "distill-last", "mine.yaml").returncode == 0
    text = (tmp_path / "mine.yaml").read_text().replace("layers: [12]", "layers: [13]")
    (tmp_path / "mine.yaml").write_text(text)
    done = cli("distill", "--recipe", "mine.yaml", "--data", few_clips, "--teacher", tiny_teacher)
    line = next(number for number, row in enumerate(text.splitlines(), 1) if "[13]" in row)
    assert done.returncode == 1 and f"mine.yaml:{line}" in done.stderr
    assert yaml.safe_load(text)["match"]["layers"] == [13]


def test_ls_and_doctor(cli):
    listed = one_document(cli("ls", "--json"))
    assert {item["name"] for item in listed["recipes"]} >= {"distilhubert", "distill-last", "distill-hidden"}
    checks = one_document(cli("doctor", "--json"))["checks"]
    assert {"python", "torch", "starter"} <= {check["name"] for check in checks}
    assert all(check["ok"] or check["fix"] for check in checks)


@pytest.mark.parametrize(
    ("words", "said", "unsaid"),
    [
        (("report",), "there is no such file or folder; `compress profile BUNDLE` makes a record", "JSON"),
        (("export", "/nope", "--target", "host"), "/nope: there is no such file or folder", "hub"),
        (("distill", "--recipe", "distilhubert", "--starter", "--data", "/nope"), "no such file or folder", "teacher"),
        (("quantize", "/nope"), "/nope: there is no such folder", "config.json"),
    ],
)
def test_advice_fits_what_is_not_there(cli, words, said, unsaid):
    done = cli(*words)
    assert done.returncode == 1 and said in done.stderr and unsaid not in done.stderr.splitlines()[-1]


def test_what_libraries_say_of_themselves_does_not_reach_a_user(cli):
    """torchao says which of its libraries it cannot load, and torch what of torchao is out of date."""
    code = (
        "from speechpress.compressor.cli.main import root; root(); import torchao; "
        "from torchao.quantization import pt2e"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
