import json
from dataclasses import replace

import pytest

from speechpress.compressor.quantize.scheme import (
    CALIBRATED,
    FIRST_CONV,
    Operator,
    Quantization,
    by_scheme,
    load_quantization,
    save_quantization,
    scale_of,
)
from speechpress.compressor.targets import SCHEMES
from speechpress.runtime.errors import SpeechpressError

CONV, LINEAR = "feature_extractor.conv_layers.1.conv", "encoder.layers.0.attention.q_proj"


def test_every_scheme_settles_what_it_can():
    hows = {
        scheme: tuple(Quantization(scheme).of(name, "conv" in name).how for name in (FIRST_CONV, CONV, LINEAR))
        for scheme in SCHEMES
        if scheme not in CALIBRATED
    }
    assert hows == {
        "none": ("float", "float", "float"),
        "int8": ("float", "dynamic", "dynamic"),
        "int8-linear": ("float", "float", "dynamic"),
        "int4": ("float", "dynamic", "int4"),
        "fp16": ("half", "half", "half"),
    }


def test_a_scheme_with_ranges_knows_only_what_it_was_told():
    static = Quantization("int8-static", {CONV: Operator("static", (-1, 1), (-2, 2))})
    assert static.of(CONV, True).output == (-2, 2)
    with pytest.raises(SpeechpressError, match="made for another encoder"):
        static.of(LINEAR, False)
    with pytest.raises(SpeechpressError, match=r"needs calibration data.*compress quantize CHECKPOINT --scheme mixed"):
        by_scheme("mixed")


def test_it_is_read_as_it_was_written(tmp_path):
    settled = Quantization(
        "int8-static", {CONV: Operator("static", (-1.5, 1.0), (0.0, 2.0))}, {"parent": {"path": "p"}}
    )
    save_quantization(tmp_path, settled)
    assert load_quantization(tmp_path) == settled
    assert load_quantization(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "has schema 2"),
        ({"scheme": "int3"}, "scheme is .int3., but must be one of none"),
        ({"operators": {CONV: {"how": "magic"}}}, r"conv.how is .magic., but must be one of"),
        ({"operators": {CONV: {"how": "static", "input": [0, 1]}}}, "conv.output is missing"),
        ({"operators": None}, "operators is null"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, change, said):
    save_quantization(tmp_path, Quantization("int8", {CONV: Operator("dynamic")}))
    path = tmp_path / "quantize.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SpeechpressError, match=said):
        load_quantization(tmp_path)


@pytest.mark.parametrize("values", [(-1.0, 3.0), (0.5, 2.0), (-2.0, -1.0), (0.0, 0.0)])
def test_zero_is_hit_exactly_and_both_ends_fit(values):
    scale, zero = scale_of(values)
    assert -128 <= zero <= 127 and isinstance(zero, int)
    low, high = (-128 - zero) * scale, (127 - zero) * scale
    assert low <= min(values[0], 0) + scale and high >= max(values[1], 0) - scale


def test_settling_keeps_what_is_said():
    settled = Quantization("int8").settled({FIRST_CONV: True, CONV: True})
    assert {name: item.how for name, item in settled.operators.items()} == {FIRST_CONV: "float", CONV: "dynamic"}
    kept = replace(settled, operators={**settled.operators, CONV: Operator("float")})
    assert kept.settled({CONV: True}).operators[CONV].how == "float"


@pytest.mark.parametrize(
    ("values", "scale", "zero"),
    [
        ((-1.0, 3.0), 4 / 255, -64),  # 63.75 steps lie below zero
        ((-25.5, 0.0), 0.1, 127),
        ((-2.0, -1.0), 2 / 255, 127),  # a range always holds zero
        ((0.5, 5.1), 0.02, -128),
        ((0.0, 0.0), 2**-16, -128),
        ((-1e-9, 1e-9), 2**-16, -128),
        ((-1.0, 1.0), 2 / 255, 0),
    ],
)
def test_scale_and_zero_point_by_hand(values, scale, zero):
    assert scale_of(values) == (pytest.approx(scale), zero)


def test_a_file_of_a_newer_version_is_not_called_damaged(tmp_path):
    save_quantization(tmp_path, Quantization("int8"))
    path = tmp_path / "quantize.json"
    document = json.loads(path.read_text())
    assert document == {"schema": 1, "scheme": "int8", "operators": {}}
    for number in (2, 3, 70):
        path.write_text(json.dumps({"schema": number, "plan": "of another shape"}))
        with pytest.raises(SpeechpressError, match=rf"has schema {number}, but this speechpress reads 1; upgrade"):
            load_quantization(tmp_path)
    for odd in (True, "2", None, 2.5, -1, 0):
        path.write_text(json.dumps(document | {"schema": odd}))
        with pytest.raises(SpeechpressError, match="schema is"):
            load_quantization(tmp_path)


def test_names_from_a_file_mean_the_same():
    """Text that was read is another object than the same text in the code."""
    for scheme in SCHEMES:
        read = "".join(list(scheme))
        if scheme in CALIBRATED:
            with pytest.raises(SpeechpressError, match="needs calibration data"):
                by_scheme(read)
            continue
        for name in (FIRST_CONV, CONV, LINEAR):
            again = "".join(list(name))
            assert by_scheme(read).of(again, "conv" in name) == by_scheme(scheme).of(name, "conv" in name)
    settled = Quantization("mixed", {CONV: Operator("float")})
    assert by_scheme(settled) is settled
