import argparse
import collections
import os
import pickle
import random
import sys
import types
import typing
import zipfile
from pathlib import Path

import pytest
import torch

from speechpress.compressor.teachers.pickles import Stub, parse_conv_layers, read_foreign
from speechpress.runtime.errors import SpeechpressError

DATA = Path(__file__).parents[1] / "fixtures"


class Hostile:
    """Pickles itself as a call."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def legacy(path, value):
    torch.save(value, path, _use_new_zipfile_serialization=False)


def plain_pickle(path, value):
    path.write_bytes(pickle.dumps(value, protocol=2))


def plain_pickle_4(path, value):
    path.write_bytes(pickle.dumps(value, protocol=4))


def zipped(path, value):
    torch.save(value, path)


WRITERS = [zipped, legacy, plain_pickle, plain_pickle_4]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda mark: Hostile(os.system, f"touch {mark}"), f"{os.system.__module__}.system"),
        (lambda mark: Hostile(eval, f"open({str(mark)!r}, 'w')"), "eval"),
        (lambda mark: Hostile(getattr, "text", "upper"), "getattr"),
        (lambda mark: Hostile(os.makedirs, str(mark)), "os.makedirs"),
    ],
    ids=["os.system", "eval", "getattr", "makedirs"],
)
def test_a_hostile_file_is_refused_by_name_and_nothing_runs(write, call, name, tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "model.pt"
    write(path, {"cfg": {"model": {"_name": "hubert"}}, "model": {}, "extra": call(mark)})
    with pytest.raises(SpeechpressError) as error:
        read_foreign(path)
    assert name in str(error.value) and str(path) in str(error.value) and "nothing was executed" in str(error.value)
    assert not mark.exists()


def test_the_hostile_file_would_have_run_under_an_ordinary_unpickler(tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "model.pt"
    torch.save({"extra": Hostile(os.system, f"touch {mark}")}, path)
    torch.load(path, weights_only=False)
    assert mark.exists()


def test_a_call_hidden_in_the_state_of_a_known_class_is_refused(tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "model.pt"
    torch.save({"args": argparse.Namespace(inner=Hostile(os.system, f"touch {mark}"))}, path)
    with pytest.raises(SpeechpressError, match="system"):
        read_foreign(path)
    assert not mark.exists()


def test_a_second_pickle_in_the_archive_is_looked_at_too(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.ones(1)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model/other.pkl", pickle.dumps(Hostile(os.system, "true"), protocol=2))
    with pytest.raises(SpeechpressError, match="system"):
        read_foreign(path)


@pytest.mark.parametrize("operation", [b"(S'x'\nios\nsystem\n.", b"\x82\x01."], ids=["INST", "EXT1"])
def test_rare_ways_to_name_a_function_are_refused(operation, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(operation)
    with pytest.raises(SpeechpressError, match=r"os\.system|extension 1"):
        read_foreign(path)


@pytest.mark.parametrize("write", [zipped, legacy])
def test_tensors_namespaces_and_ordered_dicts_are_read(write, tmp_path):
    path = tmp_path / "model.pt"
    state = collections.OrderedDict(w=torch.arange(6.0).view(2, 3), h=torch.ones(2, dtype=torch.float16))
    write(path, {"args": argparse.Namespace(arch="wav2vec2", sizes=[1, 2]), "model": state})
    loaded = read_foreign(path)
    assert loaded["args"] == {"arch": "wav2vec2", "sizes": [1, 2]}
    assert torch.equal(loaded["model"]["w"], state["w"]) and loaded["model"]["h"].dtype == torch.float16


def test_the_config_of_an_older_fairseq_is_read_without_omegaconf(tmp_path, monkeypatch):
    """OmegaConf's classes are pickled by name, with their content in their state; these stand for them."""

    def fake(module, name):
        made = type(name, (), {"__module__": module})
        monkeypatch.setitem(sys.modules, module, sys.modules.get(module) or types.ModuleType(module))
        setattr(sys.modules[module], name, made)
        return made

    for package in ("omegaconf",):
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    any_node = fake("omegaconf.nodes", "AnyNode")
    dict_config, list_config = fake("omegaconf.dictconfig", "DictConfig"), fake("omegaconf.listconfig", "ListConfig")
    metadata = fake("omegaconf.base", "ContainerMetadata")

    def node(kind, **state):
        made = kind()
        made.__dict__.update(state, _metadata=metadata(), _parent=None)
        return made

    def value(x):
        return node(any_node, _val=x)

    inner = node(dict_config, _content={"_name": value("hubert"), "encoder_layers": value(4), "none": value(None)})
    temperatures = node(list_config, _content=[value(2.0), value(0.5)])
    extra = node(metadata, ref_type=typing.Any, resolver_cache=collections.defaultdict(dict))
    outer = node(dict_config, _content={"model": inner, "latent_temp": temperatures}, extra=extra)
    torch.save({"cfg": outer, "model": {"w": torch.ones(1)}}, tmp_path / "model.pt")
    loaded = read_foreign(tmp_path / "model.pt")
    assert loaded["cfg"]["model"] == {"_name": "hubert", "encoder_layers": 4, "none": None}
    assert loaded["cfg"]["latent_temp"] == [2.0, 0.5]


def test_classes_of_fairseq_become_inert_stubs():
    state = read_foreign(DATA / "fairseq_hubert_base.pt")
    dictionary = state["task_state"]["dictionaries"][0]
    assert isinstance(dictionary, Stub) and type(dictionary).dotted == "fairseq.data.dictionary.Dictionary"
    assert "symbols" in dictionary.state
    assert "fairseq" not in sys.modules


def test_nothing_stays_allowed_after_a_file_was_read():
    """Of ours: torch adds classes of its own there whenever one of its modules is first imported."""
    read_foreign(DATA / "fairseq_hubert_base.pt")
    allowed = [entry[0] if isinstance(entry, tuple) else entry for entry in torch.serialization.get_safe_globals()]
    assert not [entry for entry in allowed if isinstance(entry, type) and issubclass(entry, Stub)]


@pytest.mark.parametrize("write", [zipped, legacy])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_an_error_with_its_path(write, part, tmp_path):
    path = tmp_path / "model.pt"
    write(path, {"model": {f"w{i}": torch.randn(100) for i in range(20)}})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(SpeechpressError) as error:
        read_foreign(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"<html>Not found</html>", "not a checkpoint"),
        (b"\x80\x02}q\x00.", "not a checkpoint"),
        (b"\x00" * 5000, "not a checkpoint"),
        (bytes(range(256)) * 20, "not a checkpoint"),
    ],
    ids=["empty", "html", "dict", "zeros", "bytes"],
)
def test_a_file_that_is_no_checkpoint_is_an_error(content, said, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(SpeechpressError, match=said):
        read_foreign(path)


def test_archives_that_torch_never_wrote_are_refused(tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(SpeechpressError, match=r"data\.pkl"):
        read_foreign(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x00" * 10_000_000)
    with pytest.raises(SpeechpressError, match="compressed"):
        read_foreign(path)
    with pytest.raises(SpeechpressError, match="no such file"):
        read_foreign(tmp_path / "absent.pt")


def test_conv_layers_are_parsed_as_fairseq_writes_them():
    base = [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]
    assert parse_conv_layers("[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2", "x") == base
    assert parse_conv_layers("[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]", "x") == base
    assert parse_conv_layers(str(base), "x") == base


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "[(512,10,5)] * 999999999",
        "[(512,10,5)] * 60 * 60 * 60",
        "[(512,10,5)] + x",
        "[(512,10)]",
        "[(512,10,'5')]",
        "[(512,10,5.0)]",
        "[(0,10,5)]",
        "[(99999999,10,5)]",
        "[]",
        "",
        "(((((",
        "9**9**9",
        "[" * 3000,
    ],
)
def test_conv_layers_that_are_more_than_a_list_are_refused(text):
    with pytest.raises(SpeechpressError, match=r"a\.pt: conv_feature_layers"):
        parse_conv_layers(text, "a.pt")


@pytest.mark.parametrize("write", [zipped, legacy])
def test_a_file_with_flipped_bytes_is_read_or_refused_but_never_anything_else(write, tmp_path):
    path, flips = tmp_path / "model.pt", random.Random(0)
    write(path, {"args": argparse.Namespace(a=1, b=[1, 2]), "model": {f"w{i}": torch.randn(5) for i in range(5)}})
    whole, outcomes = path.read_bytes(), set()
    for _ in range(100):
        damaged = bytearray(whole)
        for _ in range(flips.choice([1, 2, 8])):
            damaged[flips.randrange(min(len(damaged), 1800))] = flips.randrange(256)
        path.write_bytes(damaged)
        try:
            read_foreign(path)
            outcomes.add("read")
        except SpeechpressError as error:
            assert str(path) in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
