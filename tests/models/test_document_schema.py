"""A card whose every value is null, which the schema allows, is no reason for any command to end in a trace."""

from typing import get_type_hints

import pytest
from bundled import SMALL, make

from speechpress.compressor.distill.run import RunOptions
from speechpress.compressor.evaluate.lineup import open_comparison
from speechpress.compressor.export.source import open_source
from speechpress.compressor.models.checkpoint import load_checkpoint, save_encoder, write_json
from speechpress.compressor.models.document_schema import CARD, Card
from speechpress.compressor.prune.options import PrunePlan, PruneTarget
from speechpress.compressor.prune.prune import prune
from speechpress.compressor.quantize.ptq import prepare, quantize

NULLS = ("recipe", "teacher", "match", "parents", "prune", "notes", "data", "steps", "audio_h", "valid")


def test_the_type_of_a_card_has_the_keys_that_its_schema_reads():
    assert set(CARD.optional) <= set(get_type_hints(Card))


@pytest.fixture
def checkpoint(tmp_path):
    save_encoder(tmp_path / "run", make(SMALL))
    write_json(tmp_path / "run" / "card.json", {"schema": 1, **dict.fromkeys(NULLS)})
    return tmp_path / "run"


def test_a_card_of_nulls_is_read_exported_pruned_quantised_and_compared(checkpoint, tmp_path):
    assert load_checkpoint(checkpoint).card["parents"] is None
    assert open_source(str(checkpoint)).lineage["parents"] == []
    plan = PrunePlan(checkpoint, PruneTarget("sparsity", 0.2), "magnitude", 0)
    pruned = prune(plan, RunOptions((), tmp_path / "pruned", "cpu"), lambda event: None, lambda text: None)
    assert load_checkpoint(tmp_path / "pruned").card["parents"][0]["path"] == str(checkpoint)
    assert pruned["parameters"] < sum(p.numel() for p in make(SMALL).parameters())
    quantize(prepare(checkpoint, None, False), "int8", tmp_path / "int8", lambda text: None)
    assert load_checkpoint(tmp_path / "int8").card["parents"][-1]["by"] == "quantize"
    upstreams = open_comparison(checkpoint).upstreams
    assert "student" in upstreams and "teacher" not in upstreams
