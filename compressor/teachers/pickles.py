"""Reading other people's pickles (`.pt`, `.ckpt`, `pytorch_model.bin`) without ever running what is inside.

A pickle names functions and classes that unpickling calls. Two walls stand before that. First every name in the file is
compared with a closed list, and a file with any other name is refused by that name before anything is built. Then
torch's restricted unpickler (`weights_only=True`) builds the rest, with an inert `Stub` in the place of every class
that is not torch's own: a stub keeps what it is given and does nothing.
"""

import ast
import itertools
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

from speechpress.runtime.errors import SpeechpressError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # what torch.save wrote first before it used zip files (torch < 1.6)
LEGACY_PICKLES = 5  # magic number, protocol, system, the object, storage keys; raw tensor bytes follow
MAX_OPERATIONS = 2_000_000  # of all pickles in a file; a fairseq checkpoint with its optimizer has some 100,000
MAX_PICKLE_BYTES = 64 * 2**20  # tensors lie beside the pickle, not in it
MAX_VALUES, MAX_DEPTH = 2_000_000, 60
MAX_CONV_LAYERS = 64
MAX_CONV_SIZE = 65_536
MAX_CONV_TEXT = 2_000

_STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")

# What torch itself rebuilds: tensors and containers.
TORCH_NAMES = frozenset(
    {
        "collections.OrderedDict",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_tensor_v2",
        "torch.Size",
        "torch.device",
        "torch.nn.parameter.Parameter",
        *(f"torch.{kind}Storage" for kind in _STORAGES),
        *(f"torch.{kind}" for kind in ("float16", "bfloat16", "float32", "float64", "int64", "int32", "bool")),
    }
)

# Classes that fairseq, s3prl and OmegaConf leave in their checkpoints, and NumPy's in training statistics.
STUB_NAMES = frozenset(
    {
        "argparse.Namespace",
        "fairseq.data.dictionary.Dictionary",
        "omegaconf.base.ContainerMetadata",
        "omegaconf.base.Metadata",
        "omegaconf.dictconfig.DictConfig",
        "omegaconf.listconfig.ListConfig",
        "omegaconf.nodes.AnyNode",
        "typing.Any",
        "collections.defaultdict",
        *(
            f"{module}.{name}"
            for module in ("__builtin__", "builtins")
            for name in ("dict", "list", "long", "int", "str")
        ),
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
        "numpy.dtype",
        "numpy.ndarray",
        "_codecs.encode",
    }
)


class Stub:
    """Stands for a class that is never imported: keeps constructor arguments and state, does nothing with them."""

    dotted = ""
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> "Stub":
        stub = object.__new__(cls)
        stub.__dict__.update(args=args, state={})
        return stub

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state


# What torch's unpickler, pickletools and zipfile raise on damaged input, as found by flipping bytes.
_DAMAGE: tuple[type[Exception], ...] = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    OSError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    ImportError,
    MemoryError,
)

_STUBS = {name: type("Stub", (Stub,), {"dotted": name}) for name in STUB_NAMES}


def read_foreign(path: Path) -> Any:
    """What `torch.save` wrote to `path`, with plain dicts and lists in the place of Namespace and DictConfig objects.

    Raises:
        SpeechpressError: the file is truncated, is no checkpoint, or names anything outside the closed lists.
    """
    if not path.is_file():
        raise SpeechpressError(f"{path}: no such file")
    zipped = _is_zip(path)
    # Not by torch's list alone: other libraries may have added names to it for the whole process.
    unknown = sorted(set(_pickled_names(path, zipped)) - TORCH_NAMES - STUB_NAMES)
    if unknown:
        names = ", ".join(unknown)
        raise SpeechpressError(
            f"{path}: refused, because its pickle asks for {names}, and nothing was executed. Checkpoints of fairseq, "
            "unilm, s3prl and transformers do not need that; get the file from its original source, or as .safetensors"
        )
    try:
        # By name, in place of the real classes: to admit those would be to run their constructors.
        stubs: list[Any] = [(stub, name) for name, stub in _STUBS.items()]
        with torch.serialization.safe_globals(stubs):
            # mmap: optimizer states, two thirds of a training checkpoint, then stay on the disk.
            value = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        _check_values(value, path)
        return plain(value)
    except _DAMAGE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "weights_only" in reason:  # torch advises to run the file's code
            reason = "its pickle does what no checkpoint's does; nothing was executed"
        raise SpeechpressError(f"{path}: damaged, or no checkpoint that torch can read ({reason})") from error


def _check_values(value: Any, path: Path) -> None:
    """Raises SpeechpressError for more than could lie in the file: tensors without data, values within themselves.

    A pickle of a few bytes can name one list a billion times, or one number as a tensor of any size.
    """
    level, count, tensor_bytes = [value], 0, 0
    for _ in range(MAX_DEPTH):
        for tensor in (item for item in level if isinstance(item, torch.Tensor)):
            size = tensor.numel() * tensor.element_size()
            tensor_bytes += size
            if tensor.layout != torch.strided or size > tensor.untyped_storage().nbytes():
                raise SpeechpressError(f"{path}: refused, because a tensor of {list(tensor.shape)} has too little data")
        level = list(itertools.islice((inner for item in level for inner in _inner(item)), MAX_VALUES + 1))
        count += len(level)
        if count > MAX_VALUES or tensor_bytes > 4 * path.stat().st_size:
            raise SpeechpressError(f"{path}: refused, because it unfolds to far more than its size")
        if not level:
            return
    raise SpeechpressError(f"{path}: refused, because it is nested more than {MAX_DEPTH} deep")


def _inner(value: Any) -> Iterator[Any]:
    if isinstance(value, Stub):
        yield from (value.args, value.state)
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, (list, tuple, set)):
        yield from value


def plain(value: Any) -> Any:
    """Replace stubs of Namespace and OmegaConf objects by the dicts, lists and values that they hold."""
    if isinstance(value, Stub):
        state = value.state if isinstance(value.state, dict) else {}
        if value.dotted.startswith("omegaconf.") and ("_content" in state or "_val" in state):
            return plain(state.get("_content", state.get("_val")))
        return plain(state) if value.dotted == "argparse.Namespace" else value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _is_zip(path: Path) -> bool:
    """Whether torch's zip format; raises SpeechpressError for a zip file that is cut off or compressed."""
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise SpeechpressError(f"{path}: the file is empty")
    if not start.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            kinds = {entry.compress_type for entry in archive.infolist()}
    except _DAMAGE as error:
        raise SpeechpressError(f"{path}: the file is truncated or damaged; copy or download it again") from error
    if kinds - {zipfile.ZIP_STORED}:
        raise SpeechpressError(f"{path}: a compressed zip file, not a checkpoint (torch.save never compresses)")
    return True


def _pickled_names(path: Path, zipped: bool) -> list[str]:
    """Every dotted name that the pickles in the file refer to, found by reading their opcodes only."""
    try:
        if not zipped:
            with path.open("rb") as file:
                return _legacy_names(file, path)
        with zipfile.ZipFile(path) as archive:
            pickles = [entry for entry in archive.infolist() if entry.filename.endswith(".pkl")]
            if not any(entry.filename.rsplit("/", 1)[-1] == "data.pkl" for entry in pickles):
                raise SpeechpressError(f"{path}: a zip file, but not a checkpoint (it holds no data.pkl)")
            budget = _Budget(path)
            return [found for entry in pickles for found in _names_of(budget.spend(archive.open(entry)))]
    except _DAMAGE as error:
        raise SpeechpressError(f"{path}: truncated, or not a checkpoint ({error})") from error


def _legacy_names(file: IO[bytes], path: Path) -> list[str]:
    """The names of all five pickles before torch < 1.6's raw tensor bytes, or of one plain pickle."""
    budget = _Budget(path)
    names = list(_names_of(budget.spend(file)))
    if names:
        return names
    if not budget.magic:
        raise SpeechpressError(f"{path}: not a checkpoint (neither torch's zip format nor its older one)")
    return [name for _ in range(LEGACY_PICKLES - 1) for name in _names_of(budget.spend(file))]


class _Budget:
    """Counts the operations of a file's pickles and ends the reading when there are too many."""

    def __init__(self, path: Path) -> None:
        self.path, self.left, self.magic = path, MAX_OPERATIONS, False

    def spend(self, file: IO[bytes]) -> Iterator[Any]:
        """The operations of the pickle that begins here; raises SpeechpressError when it is too long."""
        start = None
        for opcode, argument, place in pickletools.genops(file):
            start = place if start is None else start
            self.left -= 1
            self.magic = self.magic or argument == LEGACY_MAGIC
            if self.left < 0 or (place or 0) - (start or 0) > MAX_PICKLE_BYTES:
                raise SpeechpressError(f"{self.path}: refused, because its pickle is far longer than a checkpoint's")
            yield opcode, argument, place


def _names_of(operations: Any) -> Iterator[str]:
    strings: list[str] = ["?", "?"]
    for opcode, argument, _ in operations:
        if opcode.name in ("GLOBAL", "INST"):
            yield argument.replace(" ", ".")
        elif opcode.name == "STACK_GLOBAL":  # names itself by the two strings before it; torch never writes it
            yield ".".join(strings[-2:])
        elif opcode.name.startswith("EXT"):
            yield f"copyreg extension {argument}"
        elif isinstance(argument, str):
            strings.append(argument)


def parse_conv_layers(text: str, where: str) -> list[tuple[int, int, int]]:
    """fairseq's `conv_feature_layers`, such as "[(512,10,5)] + [(512,3,2)] * 4", as (channels, kernel, stride) triples.

    fairseq runs eval() on this text. Here only lists, tuples, +, * and integers exist, and the result is bounded.
    """
    try:
        layers = _conv_value(ast.parse(text.strip()[:MAX_CONV_TEXT], mode="eval").body)
        triples = [(int(channels), int(kernel), int(stride)) for channels, kernel, stride in layers]
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise SpeechpressError(
            f"{where}: conv_feature_layers is {text[:80]!r}, which is not a list of (channels, kernel, stride)"
        ) from error
    sizes = [size for triple in triples for size in triple]
    if not triples or min(sizes) < 1 or max(sizes) > MAX_CONV_SIZE:
        raise SpeechpressError(f"{where}: conv_feature_layers is {text[:80]!r}; sizes must be 1 to {MAX_CONV_SIZE}")
    return triples


def _conv_value(node: ast.expr) -> Any:
    """The value of a list expression; raises ValueError for anything that is no list, tuple, +, * or integer."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_conv_value(item) for item in node.elts]
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, (ast.Add, ast.Mult)):
        raise ValueError(f"unexpected {type(node).__name__}")
    left, right = _conv_value(node.left), _conv_value(node.right)
    if isinstance(node.op, ast.Add) and isinstance(left, list) and isinstance(right, list):
        value = left + right
    elif (
        # The factor is bounded before it is used: [x] * 10**9 would take all memory.
        isinstance(node.op, ast.Mult) and isinstance(left, list) and isinstance(right, int) and right <= MAX_CONV_LAYERS
    ):
        value = left * right
    else:
        raise ValueError("only list + list and list * number are known")
    if len(value) > MAX_CONV_LAYERS:
        raise ValueError(f"more than {MAX_CONV_LAYERS} layers")
    return value
