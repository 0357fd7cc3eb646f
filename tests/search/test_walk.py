"""How a search decides, on rows as workers send them; a whole search stands in test_cli_search.py."""

import json

import pytest

from speechpress.compressor.cluster.jobs import Heard
from speechpress.compressor.export.clock import DeviceClock
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.search.rows import Rows
from speechpress.compressor.search.space import Space
from speechpress.compressor.search.trial import Facts, SearchStopped
from speechpress.compressor.search.walk import STUDENTS, Search, Walk, no_shape
from speechpress.runtime.errors import CheckFailed, SpeechpressError

FACTS = Facts(EncoderConfig(), 768, 12, {"sha256": "t" * 64}, "d" * 64, 1.0, 0.1)
SPACE = Space(layers=(2, 4, 8), width=(192, 384, 512), quantize=("int8", "none"))
BUDGET_MS = 5.0


def order(out, trials=6, space=SPACE):
    (out / STUDENTS).mkdir(parents=True, exist_ok=True)
    recipe = load_recipe("pocket-conv")
    return Search(recipe, recipe, space, (), out, DeviceClock("host", 1, 60), BUDGET_MS, trials)


def walk(out, trials=6, space=SPACE):
    events = []
    return Walk(order(out, trials, space), FACTS, Rows(out / "trials.jsonl").read(), events.append), events


def measured(row, p50_ms, fidelity=0.5):
    state = "done" if p50_ms <= BUDGET_MS else "skipped"
    return row | {
        "state": state, "p50_ms": p50_ms, "p99_ms": p50_ms, "over_ms": p50_ms - BUDGET_MS,
        "ms_per_s": p50_ms * 1000 / row["chunk_ms"], "fidelity": fidelity if state == "done" else None,
    }  # fmt: skip


def end(walk, p50_ms, fidelity=0.5):
    """Draw a shape and let a worker answer for it."""
    number, shape = walk.draw()
    walk.hear(Heard("done", number, measured(walk.rows[number], p50_ms, fidelity)))
    return number, shape


def test_the_cheapest_shapes_come_first_then_the_recipes_own(tmp_path):
    going, _ = walk(tmp_path)
    shapes = [end(going, 1.0)[1] for _ in range(3)]
    assert shapes[:2] == [{"layers": 2, "width": 192, "quantize": scheme} for scheme in ("int8", "none")]
    assert shapes[2] == {"layers": 4, "width": 384, "quantize": "int8"}
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [line["state"] for line in lines] == ["running", "done"] * 3


def test_there_are_as_many_trials_as_were_asked_for(tmp_path):
    going, events = walk(tmp_path, trials=4)
    for _ in range(4):
        end(going, 1.0)
    assert going.draw() is None
    assert [event["ended"] for event in events if event["event"] == "trial"] == [1, 2, 3, 4]
    assert walk(tmp_path, trials=4)[0].draw() is None
    more, _ = walk(tmp_path, trials=5)
    assert more.draw()[0] == 4


def test_one_trial_is_one_though_more_shapes_are_claimed(tmp_path):
    going, _ = walk(tmp_path, trials=1)
    end(going, 1.0)
    assert going.draw() is None


def test_a_space_that_is_used_up_is_said(tmp_path):
    going, _ = walk(tmp_path, trials=99)
    for _ in range(SPACE.size):
        end(going, 1.0)
    assert going.draw() is going.draw() is None
    assert going.notes == ["all 18 shapes of the space were tried"]


def test_what_was_running_when_it_was_killed_begins_anew_under_its_number(tmp_path):
    going, _ = walk(tmp_path, trials=3)
    end(going, 1.0)
    running = [going.draw(), going.draw()]
    again, _ = walk(tmp_path, trials=3)
    assert [again.draw(), again.draw()] == running and again.draw() is None


def test_a_shape_far_beyond_the_budget_is_not_even_measured(tmp_path):
    going, _ = walk(tmp_path, trials=30, space=Space(layers=(2, 4, 8, 32), width=(192, 512), quantize=("int8",)))
    number, _ = end(going, 1.0)
    rate = going.rows[number]["macs"] / 1.0
    for _ in range(2):
        row = going.rows[going.draw()[0]]
        going.hear(Heard("done", row["trial"], measured(row, row["macs"] / rate * 1.2)))
    while (drawn := going.draw()) is not None:
        row = going.rows[drawn[0]]
        going.hear(Heard("done", row["trial"], measured(row, row["macs"] / rate)))
    far = [row for row in going.table if row["state"] == "skipped" and row["p50_ms"] is None]
    assert far and all("over budget by measurement of others" in row["reason"] for row in far)
    assert all(row["estimate_ms"] > 1.5 * BUDGET_MS for row in far)
    assert len(going.table) == 8 and max(row["p50_ms"] or 0 for row in going.table) < 1.5 * BUDGET_MS


def test_a_budget_that_the_cheapest_shapes_miss_ends_the_search_with_the_nearest(tmp_path):
    going, _ = walk(tmp_path)
    end(going, 9.0)
    with pytest.raises(
        CheckFailed, match=r"no shape meets 5 ms on host: .*nearest of 2 tried is trial 1 .*8.50 ms per chunk"
    ):
        end(going, 8.5)


def test_three_failures_in_a_row_end_the_search(tmp_path):
    going, _ = walk(tmp_path)
    for number in range(3):
        going.draw()
        heard = Heard("failed", number, SpeechpressError("no cut can be read"))
        if number < 2:
            going.hear(heard)
    with pytest.raises(SpeechpressError, match=r"the last 3 trials failed, trial 2 because: no cut.*--resume"):
        going.hear(heard)
    assert [row["reason"] for row in going.table] == ["no cut can be read"] * 3
    assert "no trial ended with a student: no cut can be read" in str(no_shape(going.order, going.table))


def test_a_crash_is_a_failed_trial_and_the_search_goes_on(tmp_path):
    going, _ = walk(tmp_path)
    number, _ = going.draw()
    going.hear(Heard("broke", number, "Traceback ...\nRuntimeError: shapes differ"))
    assert going.rows[number]["reason"] == "RuntimeError: shapes differ" and going.draw() is not None


def test_a_trial_whose_process_is_killed_again_and_again_has_failed(tmp_path):
    going, _ = walk(tmp_path)
    number, _ = going.draw()
    going.hear(Heard("lost", number))
    assert going.rows[number]["state"] == "failed" and "was it out of memory" in going.rows[number]["reason"]


def test_a_device_that_is_gone_ends_the_search_and_its_trial_is_not_counted(tmp_path):
    going, _ = walk(tmp_path)
    number, _ = going.draw()
    with pytest.raises(SearchStopped, match="gone"):
        going.hear(Heard("failed", number, SearchStopped("gone")))
    assert going.rows[number]["state"] == "running"


def test_only_students_of_the_front_keep_their_weights(tmp_path):
    going, _ = walk(tmp_path)
    for p50_ms, fidelity in ((2.0, 0.5), (3.0, 0.4), (4.0, 0.6)):
        folder = tmp_path / STUDENTS / f"{len(going.rows):04d}"
        folder.mkdir()
        for name in ("model.safetensors", "card.json"):
            (folder / name).touch()
        end(going, p50_ms, fidelity)
    kept = [(folder / "model.safetensors").exists() for folder in sorted((tmp_path / STUDENTS).iterdir())]
    assert kept == [True, False, True] and all(
        (tmp_path / STUDENTS / f"000{n}" / "card.json").exists() for n in range(3)
    )
