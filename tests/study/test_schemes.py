import json
from dataclasses import replace

import pytest
from bundled import SMALL, make

from speechpress.compressor.models.checkpoint import save_encoder, write_json
from speechpress.compressor.quantize.ptq import prepare
from speechpress.compressor.quantize.tables import markdown_table, report_tables
from speechpress.compressor.study.schemes import SchemeReportOptions, report
from speechpress.runtime.errors import SpeechpressError

WIDE = replace(SMALL, conv_channels=(16, 32), head_dim=16)  # so that groups of 32 inputs divide it


@pytest.fixture(scope="module")
def found(tmp_path_factory, few_clips):
    folder = tmp_path_factory.mktemp("wide")
    save_encoder(folder, make(WIDE))
    write_json(folder / "card.json", {"teacher": {"source": "./nowhere"}})
    prepared = prepare(folder, few_clips, needs_speech=True)
    return report(prepared, SchemeReportOptions(("int4",), (), few_clips, rounds=3, jobs=2), lambda stage: None)


def test_schemes_stand_beside_float(found):
    json.dumps(found)
    rows = found["schemes"]
    assert list(rows) == ["none", "int4"] and found["method"] == "step_16"
    assert rows["none"]["program"]["snr_db"] > 90 > rows["int4"]["program"]["snr_db"] > 10
    assert rows["int4"]["size_bytes"] < 0.75 * rows["none"]["size_bytes"]
    for row in rows.values():
        assert row["q1_ms"] <= row["median_ms"] <= row["q3_ms"] and 0 < row["time_share"] <= 1
        assert len(row["layers"]) == WIDE.num_layers + 1
    assert rows["none"]["layers"][0]["cosine"] == pytest.approx(1)


def test_the_simulated_layers_are_those_of_the_program(found):
    """The last layer of the simulation suffers as the program's features do."""
    row = found["schemes"]["int4"]
    assert row["layers"][-1]["snr_db"] == pytest.approx(row["program"]["snr_db"], abs=3)


def test_the_most_sensitive_operators_are_named(found):
    row = found["schemes"]["int4"]
    assert len(row["sensitive"]) == 5 and row["sensitive"][0]["name"] not in row["float"]
    assert row["sensitive"][0]["snr_db"] >= row["layers"][-1]["snr_db"] - 3
    assert found["schemes"]["none"]["sensitive"] == []


def test_what_is_missing_is_said(found):
    assert any("./nowhere" in note for note in found["notes"])  # that of the card is not at hand


def test_it_is_told_as_tables(found):
    assert len(report_tables(found)) >= 3
    lines = markdown_table(found).splitlines()
    assert lines[2].startswith("| scheme | MB | ms") and len(lines) == 2 + 2 + 2


def test_a_scheme_that_cannot_be_had_is_a_note_not_the_end(tmp_path, few_clips):
    save_encoder(tmp_path, make(replace(SMALL, ffn_widths=(100,))))
    write_json(tmp_path / "card.json", {})
    prepared = prepare(tmp_path, few_clips, needs_speech=True)
    with pytest.raises(SpeechpressError, match=r"no scheme is available: int4: .*32"):
        report(prepared, SchemeReportOptions(("int4",), (), rounds=2), lambda stage: None)
