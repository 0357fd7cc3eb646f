"""Heads of several kinds with random weights for an encoder of some config, as `read_heads` gives them."""

from dataclasses import replace

from bundled import SMALL, export_small, make
from tiny_heads import LABELS, tiny_head

from speechpress.compressor.heads.files import KeptHead, save_head
from speechpress.compressor.heads.kinds import KINDS
from speechpress.compressor.models.checkpoint import WEIGHTS, load_checkpoint, save_encoder, sha256, write_json

KIND_OF = {"phones": ("ctc", 1), "letters": ("ctc", 0), "vad": ("vad", 0), "command": ("classify", 0)}
KIND_OF |= {"units": ("units", 0), "voice": ("speaker", 0), "turns": ("segment", 0)}
WORDS = ("words", -1)  # gives an app vectors, and says nothing by itself: no part of what is compared above
OUTPUTS = 8  # of all of them together: units have two


def kept_heads(config, names=tuple(KIND_OF), student_sha256=""):
    """{name: KeptHead}; on an encoder of any number of layers, `units` listens to the last but one."""
    found = {}
    for name in names:
        kind, variant = WORDS if name == "words" else KIND_OF[name]
        module = tiny_head(kind, variant, layers=config.num_layers + 1, width=config.width)
        labels = LABELS.get(kind, KINDS[kind].labels)
        decoder = dict(KINDS[kind].decoder)
        found[name] = KeptHead(name, kind, module, labels, decoder, 0.5, student_sha256=student_sha256)
    return found


def export_with_heads(folder, scheme="none", names=("phones", "units", "vad", "voice")):
    """The folder of a bundle with chunks of 80 ms, of a small encoder with such heads."""
    save_encoder(folder / "student", make(SMALL))
    write_json(folder / "student" / "card.json", {})
    config = load_checkpoint(folder / "student").encoder.config
    for head in kept_heads(config, names, sha256(folder / "student" / WEIGHTS)).values():
        # Random weights are never sure.
        save_head(folder / "student", replace(head, threshold=None))
    return export_small(folder / "student", folder / "bundle", scheme, heads=",".join(names))


def save_heads(folder, names=tuple(KIND_OF)):
    """Put such heads into a checkpoint's folder; the folder."""
    config = load_checkpoint(folder).encoder.config
    for head in kept_heads(config, names, sha256(folder / WEIGHTS)).values():
        save_head(folder, head)
    return folder
