"""Cases for `hostile_documents` of other people's models: folders of the hub, checkpoints of fairseq, and pickles."""

import builtins
import collections
import io
import json
import os
import pickle
import random
import re
import struct
import subprocess
import zipfile
from pathlib import Path

from hostile_documents import WRONG, mutations, nested

DATA = Path(__file__).parents[1] / "fixtures"
FEW = {word: WRONG[word] for word in ("null", "text", "list", "negative", "1e9")}
CALLS = (
    (os.system, ("touch MARK",)),
    (eval, ("open('MARK', 'w')",)),
    (exec, ("open('MARK', 'w')",)),
    (subprocess.Popen, (["touch", "MARK"],)),
    (os.makedirs, ("MARK",)),
    (os.remove, ("MARK",)),
    (pickle.loads, (pickle.dumps(1),)),
    (builtins.__import__, ("antigravity",)),
    (getattr, ("text", "upper")),
    (map, (print, ["x"])),
    (delattr, ("text", "upper")),
    (open, ("MARK", "w")),
)


def opened(path):
    """Load a teacher; what is accepted must yield finite frames."""
    import torch

    from speechpress.compressor.teachers.load import load_teacher

    teacher = load_teacher(str(path))
    depth = teacher.card.depth
    states = teacher.hidden_states(torch.zeros(1, 3200), layers=[depth])[depth]
    assert states.shape[::2] == (1, teacher.card.width) and states.isfinite().all()


def hub(folder):
    from tiny_models import save, tiny, tiny_whisper

    from speechpress.compressor.models.encoder_schema import HUBERT, WHISPER

    made = {name: tiny(name) for name in ("hubert", "wavlm")}
    made["data2vec-audio"] = tiny("data2vec-audio", conv_pos_kernel_size=3, num_conv_pos_embeddings=2)
    made["whisper"] = tiny_whisper()
    some = {name: WRONG[name] for name in ("text", "1e9")}
    for family, model in made.items():
        place = Path(save(model, folder / family, do_normalize=False))
        path = place / "config.json"
        document, read = json.loads(path.read_text()), (WHISPER if family == "whisper" else HUBERT).optional

        def load(text, place=place):
            def run():
                (place / "config.json").write_text(text, encoding="utf-8", errors="surrogatepass")
                opened(place)

            return run

        ours = {key: value for key, value in document.items() if key in read}
        for name, changed, fits in mutations(ours, values=WRONG if family == "hubert" else FEW):
            yield (
                f"{family}.{name}",
                not (fits or name.endswith("missing")),
                load(json.dumps(rest(document, ours) | changed)),
            )
        if family in ("wavlm", "whisper"):  # of the rest transformers makes what it likes
            for name, changed, _ in mutations(rest(document, ours), values=some):
                yield f"{family}.{name}", name.startswith("model_type"), load(json.dumps(changed | ours))
        yield f"{family} deep", True, load(nested(document, ("hidden_size",)))
        for key in ("quantization_config", "attn_implementation", "auto_map", "num_labels", "depth"):
            for value in ({"quant_method": "bitsandbytes"}, "kernels-community/evil", 10**9):
                must = key == "quantization_config" or (key == "depth" and value == 10**9)
                yield f"{family}.{key}={value}", must, load(json.dumps({**document, key: value}))
        path.write_text(json.dumps(document))
    yield from beside(folder / "hubert")


def rest(document, ours):
    return {key: value for key, value in document.items() if key not in ours}


def beside(place):
    """preprocessor_config.json, and the index of shards."""
    path = place / "preprocessor_config.json"
    document, whole = json.loads(path.read_text()), place / "model.safetensors"

    def load(file, text):
        def run():
            file.write_text(text, encoding="utf-8", errors="surrogatepass")
            opened(place)

        return run

    ours = {key: document[key] for key in ("do_normalize", "sampling_rate")}
    for name, changed, fits in mutations(ours):
        unsaid = name.endswith("missing") or name == "do_normalize=null"
        yield f"preprocessor.{name}", not (fits or unsaid), load(path, json.dumps(document | changed))
    yield "preprocessor deep", True, load(path, nested(document, ("do_normalize",)))
    path.write_text(json.dumps(document))
    index = place / "model.safetensors.index.json"
    whole.rename(place / "part.safetensors")
    for name, changed, _ in mutations({"weight_map": {"x": "part.safetensors"}}):
        yield f"index.{name}", True, load(index, json.dumps(changed))
    for file in ("../hubert/part.safetensors", "/etc/passwd", "..", "pipe"):
        yield (
            f"index to {file}",
            not file.endswith("part.safetensors"),
            load(index, json.dumps({"weight_map": {"x": file}})),
        )
    os.mkfifo(place / "pipe")
    yield "index to a pipe", True, load(index, json.dumps({"weight_map": {"x": "pipe"}}))
    index.unlink()
    os.mkfifo(whole)
    yield "weights are a pipe", True, lambda: opened(place)
    whole.unlink()
    header = b"[" * 10**5
    whole.write_bytes(struct.pack("<Q", len(header)) + header)
    yield "deep header", True, lambda: opened(place)
    whole.write_bytes(struct.pack("<Q", 2**62) + header)
    yield "long header", True, lambda: opened(place)


def fairseq(folder):
    import torch

    from speechpress.compressor.teachers.fairseq_schema import MODEL
    from speechpress.compressor.teachers.pickles import read_foreign

    path = folder / "a.pt"

    def load(state):
        def run():
            torch.save(state, path)
            opened(path)

        return run

    for file in ("unilm_wavlm_base", "fairseq_data2vec"):
        state = {key: value for key, value in read_foreign(DATA / f"{file}.pt").items() if key in ("cfg", "model")}
        if "task" in state["cfg"]:
            state["cfg"] = {"model": state["cfg"]["model"], "task": {"normalize": False}}
        holder = state["cfg"]["model"] if "model" in state["cfg"] else state["cfg"]
        ours = {key: holder[key] for key in MODEL.optional if key in holder}

        def changed(values, state=state, holder=holder, ours=ours):
            made = {**rest(holder, ours), **values}
            return {**state, "cfg": {**state["cfg"], "model": made} if "model" in state["cfg"] else made}

        for name, values, fits in mutations(ours):
            yield (
                f"{file}.{name}",
                not (fits or name.endswith("missing") or name == "_name=null"),
                load(changed(values)),
            )
        for word, value in WRONG.items():
            yield f"{file} model={word}", True, load({**state, "model": value})
            yield f"{file} cfg={word}", True, load({**state, "cfg": value})
            yield (
                f"{file} tensor={word}",
                True,
                load({**state, "model": {**state["model"], "encoder.layer_norm.weight": value}}),
            )
            yield (
                f"{file} key={word}",
                True,
                load(
                    {**state, "model": {**state["model"], str(value) if isinstance(value, (list, dict)) else value: 1}}
                ),
            )
        for shape in ((), (1, 1, 1), (0,), (10**4,)):
            odd = {**state["model"], "encoder.layer_norm.weight": torch.zeros(shape)}
            yield f"{file} shape {shape}", True, load({**state, "model": odd})
    for word, value in WRONG.items():
        yield f"distiller={word}", True, load({"Config": value, "Distiller": {}})
        yield f"distiller config={word}", True, load({"Config": {"distiller": value}, "Distiller": {}})
        yield f"distiller tensors={word}", True, load({"Config": {"distiller": {}}, "Distiller": value})
        yield f"s3prl={word}", True, load({"task_cfg": value, "model_cfg": value, "model_weight": value})


class Call:
    """Pickles itself as a call."""

    def __init__(self, function, arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def torch_zip(path, data, **records):
    """A file in torch's format around a pickle written by hand."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {"data.pkl": data, "version": b"3\n", "byteorder": b"little", **records}.items():
            archive.writestr(f"archive/{name}", content)


def tensor_pickle(numel, size, stride, offset=0):
    """The pickle of one tensor under "model", with the sizes that are claimed."""
    import torch

    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if isinstance(value, Storage) else None

    out = io.BytesIO()
    arguments = (Storage(), offset, size, stride, False, collections.OrderedDict())
    Pickler(out, protocol=2).dump(
        {"model": {"x": Call(torch._utils._rebuild_tensor_v2, arguments)}, "cfg": {"model": {}}}
    )
    return out.getvalue()


def doubling(times, width):
    """A list of lists of lists, each the same `width` times: some bytes for width ** times values."""
    value = [0]
    for _ in range(times):
        value = [value] * width
    return value


def pickles(folder):
    import torch

    path, mark = folder / "a.pt", folder / "mark"

    def load(write):
        def run():
            write()
            try:
                opened(path)
            finally:
                assert not mark.exists(), "executed"

        return run

    def legacy(value):
        torch.save(value, path, _use_new_zipfile_serialization=False)

    def raw(value):
        path.write_bytes(pickle.dumps(value, protocol=4))

    for function, arguments in CALLS:
        real = tuple(item.replace("MARK", str(mark)) if isinstance(item, str) else item for item in arguments)
        state = {"model": Call(function, real)}
        for write in (lambda value: torch.save(value, path), legacy, raw):
            yield f"{function} {write.__name__}", True, load(lambda write=write, state=state: write(state))
    itself = []
    itself.append(itself)
    objects = {
        "a list in itself": itself,
        "10^30 values": doubling(30, 10),
        "10^12 values": doubling(2, 10**6),
        "a wide list": list(range(10**6)) * 3,
        "many lists": [[] for _ in range(10**6)],
    }
    for name, value in objects.items():
        for write in (lambda value: torch.save(value, path), legacy):
            yield f"{name} {write.__name__}", True, load(lambda write=write, value=value: write({"model": value}))
    data = {
        "deep": b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".",
        "no end": b"\x80\x02" + b"]" * 3 * 10**6,
        "long text": b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"x.",
        "long bytes": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",
        "long integer": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
        "digits": b"\x80\x02I" + b"9" * 10**6 + b"\n.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent text": b"\x80\x02Pstorage\n.",
        "persistent list": b"\x80\x02]Q.",
        "memo": b"\x80\x02h\xff.",
        "hidden name": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94"
        b"\x8c\x0bcollections\x8c\x0bOrderedDict00h\x00h\x01\x93\x8c\x01x\x85R.",
        "instance": b"(S'true'\nios\nsystem\n.",
        "a dtype called": b"\x80\x02ctorch\nfloat32\n)R.",
        "a size of texts": b"\x80\x02ctorch\nSize\n(X\x01\x00\x00\x00xtR.",
        "a stub filled": b"\x80\x02cargparse\nNamespace\n)\x81]b.",
        "nothing": b"\x80\x02N.",
        "a key that is a list": b"\x80\x02}]Ns.",
    }
    for name, content in data.items():
        yield f"{name}, zip", True, load(lambda content=content: torch_zip(path, content))
        yield f"{name}, plain", True, load(lambda content=content: path.write_bytes(content))
    for name, (numel, *tensor) in {
        "a repeated number": (1, (10**10,), (0,)),
        "too little storage": (4, (10**6,), (1,)),
        "a negative size": (4, (-4,), (1,)),
        "a huge size": (4, (2**62, 2**62), (1, 1)),
        "an offset": (4, (4,), (1,), 10**12),
        "a huge storage": (2**40, (4,), (1,)),
        "no storage": (0, (10**9,), (0,)),
    }.items():
        content = tensor_pickle(numel, *tensor)
        yield name, True, load(lambda content=content: torch_zip(path, content, **{"data/0": b"\0" * 16}))
    for numel in (2**30, 2**33):
        yield f"a legacy storage of {numel}", True, load(lambda numel=numel: path.write_bytes(legacy_storage(numel)))
    yield (
        "other files",
        True,
        load(lambda: torch_zip(path, b"\x80\x02}.", **{f"{n}.pkl": b"\x80\x02}." for n in range(2000)})),
    )
    good = (DATA / "fairseq_hubert_base.pt").read_bytes()
    for seed in range(20):
        draw, changed = random.Random(seed), bytearray(good)
        for _ in range(3):
            changed[draw.randrange(min(len(good), 8000))] = draw.randrange(256)
        yield f"flipped {seed}", False, load(lambda changed=changed: path.write_bytes(changed))
        cut = draw.randrange(1, len(good))
        yield f"cut {seed}", True, load(lambda cut=cut: path.write_bytes(good[:cut]))


def legacy_storage(numel):
    """torch's older format with a storage that says to be larger than the file."""
    import torch

    out = io.BytesIO()
    torch.save({"model": {"x": torch.zeros(3)}, "cfg": {"model": {}}}, out, _use_new_zipfile_serialization=False)
    claimed = b"\\g<1>\x8a\x08" + struct.pack("<q", numel)
    made, count = re.subn(rb"(cpuq.)K\x03", lambda found: found.expand(claimed), out.getvalue(), flags=re.S)
    assert count == 1
    return made


BORDERS = (hub, fairseq, pickles)
