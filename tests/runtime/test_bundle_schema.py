"""bundle.json with every field replaced by every wrong type and extreme, signed anew: an error with the key's path, or
a document on which everything that reads one works."""

import copy
import io
import json
import re
import shutil
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from speechpress.compressor.export.answers import entries
from speechpress.compressor.export.card import card
from speechpress.compressor.export.document import summary
from speechpress.compressor.export.tables import bundle_table
from speechpress.devices.profile import ProfileOptions, settled
from speechpress.devices.record import begin, settle
from speechpress.devices.report import build
from speechpress.devices.scores import scores_of
from speechpress.runtime.answers.head_spec import HeadSpec
from speechpress.runtime.bundle import Bundle, digest, read_bundle
from speechpress.runtime.bundle_schema import check_document
from speechpress.runtime.choice import SHIPPED, runs_here
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.program_checks import constants
from speechpress.runtime.schema import Unfit

SCORES = {
    "suite": "mini",
    "layers": "last",
    "chunk_ms": 80.0,
    "tasks": {"ks": {"metric": "acc", "value": 0.9, "quality": 0.9, "ci95": [0.8, 1.0], "teacher": None}},
}
FIGURES = {"max_abs": 0.1, "snr_db": 20.0, "cosine": 0.99, "agreement": 1.0}
METRICS = {
    **{"metric": "PER", "better": "lower", "before": 0.3, "after": 0.31, "lost": 0.03, "tolerance": 0.05},
    **{"method": "step_4", "clips": 20, "seconds": 60.0},
}


def bundle_head(audio, name="phones", labels=("", "a", "b")):
    spec = HeadSpec(name, "ctc", labels, (len(labels),), audio["hop_samples"], audio["receptive_samples"])
    (head,) = entries([spec], {"cosine": 0.9, "agreement": 0.8})
    return json.loads(json.dumps(head | {"parity": {"step_4": {"logits": FIGURES}}, "metrics": METRICS}))


WRONG = [
    *(None, True, False, 0, -1, 1.5, -0.0, 2**31, 10**30, 10**4000, 1e300, 5e-324),
    *("", "text", "[/x]", "x" * 200_000, "\x1b[2J", "../../etc/passwd", "\u202e"),
    *([], {}, [[]], [None], {"a": None}, [1] * 1000, {"": {"": {}}}),
]
DEEP = json.loads("[" * 100 + "]" * 100)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with a bundle that says all that one can say, and its document."""
    folder = tmp_path_factory.mktemp("bundle") / "demo"
    shutil.copytree(SHIPPED, folder)
    document = json.loads((folder / "bundle.json").read_text())
    document["lineage"] |= {"scores": SCORES, "fidelity": {"4": {"cosine": 0.9, "l1": 0.1}}}
    document["lineage"] |= {"parameters": 5, "quantization": {"scheme": "int8"}}
    document["features"]["outputs"] = [2, 4]
    document["window"] = {"method": "window", "samples": 16_000, "ms": 1000.0}
    share = document["delegation"]["step_4"]
    share["fallback"] = share["fallback"][:2]
    # Of what there are many of a kind, one says it all.
    document["delegation"], document["state"] = {"step_4": share}, document["state"][:4]
    document["parity"], document["lineage"]["recipe"] = {"step_4": document["parity"]["step_4"]}, "name: demo\n"
    share["layers"] = {"kernels": {"add": ["encoder", None]}, "partitions": [["encoder"], [None]]}
    document |= {"schema": 2, "heads": [bundle_head(document["audio"])]}
    return folder, document


def write(folder, document):
    document["digest"] = digest(document)
    (folder / "bundle.json").write_text(json.dumps(document))


def paths(value, path=()):
    """Every place in the document, from the outside in; of long lists the first two. What is free to hold anything, the
    lineage's own records of teacher and data, is one place each."""
    if path != ("digest",):
        yield path
    if path in (("lineage", "data"), ("lineage", "teacher", "encoder")):
        return
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, item in inner:
        yield from paths(item, (*path, key))


def places_in(document):
    return [path for path in paths(document) if path]


@contextmanager
def replaced(document, path, value):
    """The document with another value there, for as long as the block lasts."""
    place = document
    for key in path[:-1]:
        place = place[key]
    before, place[path[-1]] = place[path[-1]], value
    yield document
    place[path[-1]] = before


def use(folder):
    """All that a bundle's document is read for, short of running its program."""
    bundle = read_bundle(folder)
    document = bundle.document
    table = bundle_table({"kind": "bundle", "path": str(folder), **document})
    if '"[/x]"' in (folder / "bundle.json").read_text():
        Console(file=io.StringIO()).print(table)
    card(document, "x"), summary(folder, document | {"features": {"outputs": [0]} | document["features"]})
    runs_here(bundle)
    state = bundle.initial_state()
    assert all(list(state[entry["name"]].shape) == entry["shape"] for entry in document["state"])
    constants(document)
    facts = {"cores": [], "model": "x", "load_1min": 0.0}
    settings = settled(bundle, ProfileOptions(), facts, None) | {"side": "python"}
    record = begin(bundle, settings, {"address": "host", "known": None, **facts})
    record["accuracy"]["scores"] = scores_of(bundle)
    settle(record)
    build([record], [])
    for entry in document["streams"]:
        bundle.spec(entry["chunk_ms"])


def outcome(folder, document):
    """The error's text; None when the document was taken, and everything worked on it."""
    write(folder, document)
    try:
        use(folder)
    except SpeechpressError as error:
        return str(error)
    return None


def test_the_original_is_taken(original):
    folder, document = original
    assert outcome(folder, copy.deepcopy(document)) is None


def test_every_field_replaced_by_every_wrong_value(original):
    folder, document = original
    places, refused = places_in(document), 0
    for path in places:
        for value in WRONG:
            with replaced(document, path, value):
                said = outcome(folder, document)
            if said is not None:
                refused += 1
                assert " bytes instead of " in said or ("bundle.json: " in said and path[0] in said), (path, value)
                assert len(said) < 600, (path, value)
    assert outcome(folder, document) is None
    assert len(places) > 120 and refused > 10 * len(places)


def test_deep_values_are_errors_everywhere(original):
    folder, document = original
    for path in places_in(document):
        with replaced(document, path, DEEP):
            assert "nested deeper" in outcome(folder, document), path


def test_whatever_is_missing_is_an_error_or_not_needed(original):
    folder, document = original
    for path in [path for path in places_in(document) if isinstance(path[-1], str)]:
        changed = copy.deepcopy(document)
        del read(changed, path[:-1])[path[-1]]
        outcome(folder, changed)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_numbers_that_contradict_each_other(original, data):
    folder, document = original
    numbers = [path for path in places_in(document) if isinstance(read(document, path), int | float)]
    changed = copy.deepcopy(document)
    for path in data.draw(st.lists(st.sampled_from(numbers), min_size=1, max_size=3)):
        read(changed, path[:-1])[path[-1]] = data.draw(st.integers(-3, 2**33) | st.floats(-1e15, 1e15))
    outcome(folder, changed)


def read(document, path):
    for key in path:
        document = document[key]
    return document


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["streams"][1].update(chunk_ms="80"), "streams[1].chunk_ms is '80', but must be a number"),
        (lambda d: d["streams"][0].update(first_frame=0), "streams[0].first_frame is 0, but must be -1"),
        (lambda d: d["state"][0].update(shape=[10**6, 10**6]), "state has shapes of 8,000,"),
        (lambda d: d["state"][2].update(initial=[0.0] * 79), "state[2].initial has 79 values"),
        (lambda d: d["state"][3].update(name="count"), "state[3].name is 'count', as that of another"),
        (lambda d: d["state"].pop(1), "no entry named 'end'"),
        (
            lambda d: d["files"].update({"../x": d["files"]["encoder.pte"]}),
            "files has the key '../x', but must have keys like",
        ),
        (lambda d: d["files"].pop("encoder.pte"), "files.encoder.pte is missing"),
        (lambda d: d["lineage"]["teacher"].update(source=7), "lineage.teacher.source is 7, but must be a text"),
        (lambda d: d["features"].update(outputs=[1, 2, 3]), "features.width is 256, but must be a multiple of 3"),
        (lambda d: d["tolerance"].update(cosine="high"), "tolerance.cosine is 'high'"),
    ],
)
def test_the_error_names_the_key(original, change, said):
    folder, document = original
    changed = copy.deepcopy(document)
    change(changed)
    assert said in outcome(folder, changed)


def test_a_lag_is_part_of_the_age_and_is_said_twice(original):
    folder, document = original
    stream = document["streams"][0]
    late = stream | {"lag_frames": 2, "lag_ms": 40.0, "worst_age_ms": stream["worst_age_ms"] + 40}
    spec = Bundle(folder, document | {"streams": [late]}).spec()
    assert (spec.lag_frames, spec.latency()["lag_ms"]) == (2, 40.0)
    good = {**document, "streams": [late, *document["streams"][1:]]}
    check_document(good, ())
    for change, said in (
        ({"worst_age_ms": stream["worst_age_ms"]}, "worst_age_ms is"),
        ({"lag_ms": 20.0}, "lag_ms is 20.0, but must be 40.0"),
        ({"lag_frames": 0}, "lag_frames"),
    ):
        with pytest.raises(Unfit, match=said):
            check_document({**document, "streams": [late | change]}, ())
    for name in ("lag_frames", "lag_ms"):
        half = {key: value for key, value in late.items() if key != name}
        with pytest.raises(Unfit, match=f"{name} is missing"):
            check_document({**document, "streams": [half]}, ())


def test_json_that_is_nested_deep_or_has_huge_numbers(original):
    folder, _ = original
    for text in ("[" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, '{"schema": ' + "9" * 10_000 + "}"):
        (folder / "bundle.json").write_text(text)
        with pytest.raises(SpeechpressError, match="cannot be read as JSON"):
            read_bundle(folder)


CONTRADICTIONS = {
    "heads is there, but schema is 1": lambda d: d.update(schema=1),
    "heads is missing, but schema is 2": lambda d: d.pop("heads"),
    "heads[0].kind is 'oracle', but must be one of": lambda d: d["heads"][0].update(kind="oracle"),
    "heads[1].name is 'phones', as that of another": lambda d: d["heads"].append(copy.deepcopy(d["heads"][0])),
    "heads[0].name is '../x', but must be": lambda d: d["heads"][0].update(name="../x"),
    "heads[0].hop_samples is 160": lambda d: d["heads"][0].update(hop_samples=160),
    "heads[0].outputs are logits per frame, but those of kind units are distances, ids": lambda d: d["heads"][0].update(
        kind="units", labels=[]
    ),
    "heads[0].widths are [4], but those of its outputs are [3]": lambda d: d["heads"][0].update(widths=[4]),
    "heads[0].outputs[0].dtype is 'int64'": lambda d: d["heads"][0]["outputs"][0].update(dtype="int64"),
    "heads[0].labels has 2 values, but its logits are 3 wide": lambda d: d["heads"][0]["labels"].pop(),
    "heads[0].labels has one of them twice": lambda d: d["heads"][0].update(labels=["", "a", "a"]),
    'must begin with the blank, ""': lambda d: d["heads"][0].update(labels=["c", "a", "b"]),
    "heads[0].labels has 70000 values": lambda d: d["heads"][0].update(labels=["x"] * 70_000),
    "there is no head of that name": lambda d: d["state"].append(state_entry("vad/past")),
    "state is out of order": lambda d: d["state"].insert(0, state_entry("phones/past")),
}


def state_entry(name):
    return {"name": name, "shape": [1], "dtype": "float32", "initial": 0.0}


@pytest.mark.parametrize("said", CONTRADICTIONS)
def test_heads_that_contradict_themselves_are_refused(said, original, tmp_path):
    folder, document = original
    wrong = copy.deepcopy(document)
    CONTRADICTIONS[said](wrong)
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    write(copied, wrong)
    with pytest.raises(SpeechpressError, match=re.escape(said)):
        read_bundle(copied)


def test_an_alphabet_of_nothing_is_refused(original, tmp_path):
    folder, document = original
    wrong = copy.deepcopy(document)
    wrong["heads"] = [bundle_head(document["audio"], labels=("",))]
    shutil.copytree(folder, tmp_path / "copy")
    write(tmp_path / "copy", wrong)
    with pytest.raises(SpeechpressError, match="have an alphabet after it"):
        read_bundle(tmp_path / "copy")


def test_a_bundle_of_two_heads_tells_them_in_order(original, tmp_path):
    folder, document = original
    right = copy.deepcopy(document)
    right["heads"].append(bundle_head(document["audio"], "letters", ("", "x")))
    right["state"] += [state_entry("phones/past"), state_entry("letters/past")]
    shutil.copytree(folder, tmp_path / "copy")
    write(tmp_path / "copy", right)
    bundle = read_bundle(tmp_path / "copy")
    assert [head.name for head in bundle.heads] == ["phones", "letters"]
    assert bundle.heads[1].labels == ("", "x") and bundle.heads[1].widths == (2,)
    assert constants(right)["head_outputs"] == 2 and constants(document | {"heads": []})["head_outputs"] == 0
