"""What makes lowering faster must leave the program, and torch, as they were."""

import contextlib
import copy
import gc

import pytest
import torch
from torch import nn
from torch.fx.traceback import NodeSource

from speechpress.compressor.export import lower as lowering
from speechpress.compressor.export.lower import Method, lower, quick


def program():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4)).eval()
    return lower({"step": Method(module, (torch.zeros(3, 8),))}, {"hop": 320}, "xnnpack").program


def test_the_program_is_the_same_byte_by_byte(monkeypatch):
    quickly = program()
    monkeypatch.setattr(lowering, "quick", contextlib.nullcontext)
    assert quickly == program()


def test_histories_are_shared_while_it_lowers_and_torch_is_as_before_afterwards():
    history, before = [NodeSource(None, "a pass")], gc.get_threshold()
    with pytest.raises(ValueError, match="refused"), quick():
        assert copy.deepcopy(history)[0] is history[0] and copy.deepcopy(history) is not history
        assert gc.get_threshold()[0] > before[0]
        raise ValueError("refused")
    assert copy.deepcopy(history)[0] is not history[0] and gc.get_threshold() == before
