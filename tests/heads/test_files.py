"""Heads on disk: written and read back the same; what is damaged, hostile, stale or of another student is an error."""

import json

import pytest
import torch
from tiny_heads import ARGUMENTS, LABELS, heard, tiny_head, whole

from speechpress.compressor.heads.files import (
    KeptHead,
    checked_name,
    read_head,
    read_heads,
    save_head,
)
from speechpress.compressor.heads.kinds import KINDS
from speechpress.compressor.models.checkpoint import (
    WEIGHTS,
    load_checkpoint,
    read_tensors,
    save_encoder,
    sha256,
    write_json,
    write_tensors,
)
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.kept_heads import KEY, head_names, head_path
from speechpress.runtime.errors import SpeechpressError

LAYERS, WIDTH = 2, 16  # of the student below


@pytest.fixture
def student(tmp_path):
    torch.manual_seed(0)
    config = EncoderConfig(
        conv_channels=(8,) * 7,
        width=WIDTH,
        head_dim=8,
        num_heads=(2,),
        ffn_widths=(24,),
        pos_conv_kernel=8,
        pos_conv_groups=2,
    )
    save_encoder(tmp_path / "student", Encoder(config))
    write_json(tmp_path / "student" / "card.json", {"steps": 3})
    return tmp_path / "student"


def kept(student, kind="ctc", variant=0, name="phones", layers=LAYERS, width=WIDTH, **more):
    module = tiny_head(kind, variant, layers=layers, width=width)
    labels = LABELS.get(kind, KINDS[kind].labels)
    given = {"decoder": {"window_s": 1.5}, "threshold": 0.25, "card": {"task": "pr", "metric": "PER"}, **more}
    return KeptHead(name, kind, module, labels, student_sha256=sha256(student / WEIGHTS), **given)


@pytest.mark.parametrize("kind", ARGUMENTS)
@pytest.mark.parametrize("variant", [0, -1])
def test_a_head_is_read_back_as_it_was_written(student, kind, variant):
    head = kept(student, kind, variant)
    save_head(student, head)
    read = read_heads(student)["phones"]
    for name in ("name", "kind", "labels", "decoder", "threshold", "delay_ms", "student_sha256", "card"):
        assert getattr(read, name) == getattr(head, name), name
    layers = heard(9, layers=LAYERS, width=WIDTH)
    for one, other in zip(whole(read.module, layers), whole(head.module, layers), strict=True):
        torch.testing.assert_close(one, other)  # not equal: a product may depend on where its numbers lie
    assert load_checkpoint(student).card["heads"] == {"phones": {"task": "pr", "metric": "PER"}}
    assert load_checkpoint(student).card["steps"] == 3


def test_several_heads_lie_side_by_side_and_are_chosen_by_name(student):
    for name in ("b", "a", "c"):
        save_head(student, kept(student, name=name))
    assert head_names(student) == ["a", "b", "c"] == list(read_heads(student))
    assert list(read_heads(student, ["c", "a"])) == ["c", "a"]
    with pytest.raises(SpeechpressError, match=r"has no head 'phones'; it has a, b, c"):
        read_heads(student, ["phones"])


def test_a_checkpoint_without_heads_has_none(student):
    assert read_heads(student) == {}


def test_what_a_bundle_is_told(student):
    save_head(student, kept(student))
    spec = read_heads(student)["phones"].spec(load_checkpoint(student).encoder.config)
    assert (spec.name, spec.kind, spec.labels, spec.widths) == ("phones", "ctc", LABELS["ctc"], (5,))
    assert (spec.hop_samples, spec.receptive_samples, spec.threshold) == (320, 400, 0.25)


def test_a_head_of_a_student_whose_weights_have_changed_is_stale(student):
    save_head(student, kept(student))
    tensors, metadata = read_tensors(student / WEIGHTS)
    write_tensors(student / WEIGHTS, {**tensors, "masked_spec_embed": torch.zeros(WIDTH)}, metadata)
    with pytest.raises(SpeechpressError, match=r"phones\.safetensors: is stale.*compress head --overwrite"):
        read_heads(student)


@pytest.mark.parametrize("shape", [{"width": 12}, {"layers": 4}])
def test_a_head_of_a_student_of_another_shape_is_refused(student, shape):
    save_head(student, kept(student, **shape))
    with pytest.raises(SpeechpressError, match=r"head of another student: it hears .* this one has 2 of width 16"):
        read_heads(student)


@pytest.mark.parametrize("name", ["", "A", "../x", "a/b", "a b", "-a", "x" * 41, "é", "a.b", "a\n", "features", "all"])
def test_what_is_no_name_is_refused(student, name):
    with pytest.raises(SpeechpressError, match="is not a name for a head"):
        checked_name(name)
    with pytest.raises(SpeechpressError, match="is not a name for a head"):
        save_head(student, kept(student, name=name))


def rewritten(student, of="ctc", tensors=None, **changes):
    """A head's file with other metadata; None takes a key away."""
    save_head(student, kept(student, of))
    path = head_path(student, "phones")
    own, metadata = read_tensors(path)
    document = {**json.loads(metadata[KEY]), **changes}
    document = {key: value for key, value in document.items() if value != "gone"}
    write_tensors(path, {**own, **(tensors or {})}, {KEY: json.dumps(document)})
    return path


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"kind": "oracle"}, "kind is"),
        ({"kind": ["ctc"]}, "kind is"),
        ({"schema": 2}, "schema is"),
        ({"layers": 0}, "layers is"),
        ({"width": 10**12}, "width is"),
        ({"width": "gone"}, "width is missing"),
        ({"labels": []}, "labels is"),
        ({"labels": [""]}, "labels is"),
        ({"labels": ["", "a", "a", "b", "c"]}, "different labels"),
        ({"labels": ["x", "p", "t", "k", "s"]}, 'the blank "" first'),
        ({"labels": ["", "p", "t", "k", "\u202e"]}, "printable"),
        ({"arguments": {"tokens": 5}}, "is missing"),
        ({"arguments": {"tokens": 5, "kernel": 1, "hidden": 0, "more": 1}}, "not known"),
        ({"arguments": {"tokens": 5, "kernel": 9, "hidden": 0}}, "arguments.hidden"),
        ({"arguments": {"tokens": 2**40, "kernel": 1, "hidden": 0}}, "arguments.tokens"),
        ({"arguments": {"tokens": True, "kernel": 1, "hidden": 0}}, "arguments.tokens"),
        ({"decoder": [1]}, "decoder is"),
        ({"threshold": "high"}, "threshold is"),
        ({"threshold": 1e999}, "no number|too large|cannot be read"),
        ({"delay_ms": -1}, "delay_ms is"),
        ({"student_sha256": "abc"}, "student_sha256 is"),
        ({"card": None}, "card is"),
        ({"extra": 1}, "not known"),
    ],
)
def test_hostile_metadata_is_an_error_that_names_the_file(student, changes, said):
    path = rewritten(student, **changes)
    with pytest.raises(SpeechpressError, match=said) as error:
        read_head(path)
    assert str(path) in str(error.value)


def test_metadata_that_ask_for_more_than_there_is_take_no_memory(student):
    arguments = {"tokens": 65_536, "kernel": 255, "hidden": 8192}
    labels = ["", *map(str, range(65_535))]
    path = rewritten(student, arguments=arguments, labels=labels, width=65_536)
    with pytest.raises(SpeechpressError, match="does not fit its own metadata"):
        read_head(path)


def test_a_layer_that_the_student_has_not_is_refused(student):
    with pytest.raises(SpeechpressError, match=r"arguments\.layer is 5"):
        read_head(rewritten(student, "units", arguments={"units": 7, "layer": 5}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_head_of_numbers_that_are_none_is_refused(student, value):
    path = rewritten(student, tensors={"classify.bias": torch.full((5,), value)})
    with pytest.raises(SpeechpressError, match="not a finite number"):
        read_head(path)


@pytest.mark.parametrize("extra", [{"more": torch.zeros(2)}, {"classify.bias": torch.zeros(4)}])
def test_tensors_that_do_not_fit_are_refused(student, extra):
    with pytest.raises(SpeechpressError, match="does not fit its own metadata"):
        read_head(rewritten(student, tensors=extra))


@pytest.mark.parametrize("damage", [lambda data: data[:200], lambda data: b"\xff" * 64, lambda data: b""])
def test_a_damaged_file_is_an_error(student, damage):
    save_head(student, kept(student))
    path = head_path(student, "phones")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SpeechpressError, match="cannot be read as safetensors"):
        read_heads(student)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"kind": "ctc", "kind": "vad"}', '"\\ud800"'])
def test_metadata_that_are_no_object_are_an_error(student, text):
    save_head(student, kept(student))
    path = head_path(student, "phones")
    write_tensors(path, read_tensors(path)[0], {KEY: text})
    with pytest.raises(SpeechpressError, match=KEY):
        read_head(path)


def test_any_other_safetensors_file_is_no_head(student):
    (student / "heads").mkdir()
    write_tensors(head_path(student, "x"), {"a": torch.zeros(1)})
    with pytest.raises(SpeechpressError, match="is not a head"):
        read_heads(student)


def test_what_could_not_be_read_back_is_not_written(student):
    module = tiny_head("classify", layers=LAYERS, width=WIDTH)
    with pytest.raises(SpeechpressError, match="labels is"):
        save_head(student, KeptHead("x", "classify", module, ("a",), student_sha256="0" * 64))
    assert head_names(student) == []
