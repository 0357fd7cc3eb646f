"""Heads of several kinds with random weights for an encoder of some config, as `read_heads` gives them."""

from tiny_heads import LABELS, tiny_head

from speechpress.compressor.heads.files import KeptHead, save_head
from speechpress.compressor.heads.kinds import KINDS
from speechpress.compressor.models.checkpoint import WEIGHTS, load_checkpoint, sha256

KIND_OF = {"phones": ("ctc", 1), "letters": ("ctc", 0), "vad": ("vad", 0), "command": ("classify", 0)}
KIND_OF |= {"units": ("units", 0), "voice": ("speaker", 0), "turns": ("segment", 0)}
OUTPUTS = 8  # of all of them together: units have two


def kept_heads(config, names=tuple(KIND_OF), student_sha256=""):
    """{name: KeptHead}; on an encoder of any number of layers, `units` listens to the last but one."""
    found = {}
    for name in names:
        kind, variant = KIND_OF[name]
        module = tiny_head(kind, variant, layers=config.num_layers + 1, width=config.width)
        labels = LABELS.get(kind, KINDS[kind].labels)
        decoder = dict(KINDS[kind].decoder)
        found[name] = KeptHead(name, kind, module, labels, decoder, 0.5, student_sha256=student_sha256)
    return found


def save_heads(folder, names=tuple(KIND_OF)):
    """Put such heads into a checkpoint's folder; the folder."""
    config = load_checkpoint(folder).encoder.config
    for head in kept_heads(config, names, sha256(folder / WEIGHTS)).values():
        save_head(folder, head)
    return folder
