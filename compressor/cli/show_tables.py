"""Tables of `compress show` and `compress ls`."""

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from speechpress.runtime.escape import counted

from ..export.tables import bundle_table, target_rows
from ..recipe.hear import Hear
from ..recipe.schema import OBJECTIVES
from ..views.numbers import giga_macs, megabytes, millions, milliseconds
from .head import head_rows
from .show import words

_PARTS = {
    "front_end": "front end",
    "projection": "projection",
    "position_conv": "position convolution",
    "time_reduction": "time reduction",
    "layers": "Transformer layers",
    "mask": "mask vector",
}


_ENDLESS = {"input_scaling": "input scaling", "group_norm": "GroupNorm over time", "attention": "attention"}


def show_table(info: dict[str, Any]) -> RenderableType:
    """What `show` told, for a terminal."""
    if info["kind"] == "teacher":
        notes = [Text(f"note: {note}", style="yellow") for note in info.get("notes", ())]
        return Group(_facts(info["source"], info["about"], _teacher_rows(info)), *notes)
    if info["kind"] == "target":
        return _facts(info["name"], info["about"], target_rows(info))
    if info["kind"] == "bundle":
        return bundle_table(info)
    if info["kind"] == "run":
        return _facts(info["name"], words(info["interrupted"]), [("recipe", info["recipe_name"])])
    rows = [*_size_rows(info), *_sight_rows(info)]
    if info["kind"] == "recipe":
        rows += _recipe_rows(info)
    else:
        rows += _lineage_rows(info)
    notes = [Text(f"note: {note}", style="yellow") for note in info["notes"]]
    streaming = [streaming_table(info["streaming"])] if info["streaming"] else []
    return Group(_facts(info["name"], info.get("about") or "", rows), _parts_table(info), *streaming, *notes)


def ls_table(listing: dict[str, list[dict[str, Any]]]) -> RenderableType:
    """What `ls` told, for a terminal."""
    blocks: list[RenderableType] = []
    for kind, items in listing.items():
        if not items:
            blocks.append(Text(f"{kind}: none yet"))
            continue
        table = Table(title=kind, title_justify="left", box=box.SIMPLE_HEAD)
        rows = [_ls_row(kind, item) for item in items]
        for column in rows[0]:
            numbers = column in ("layers", "width", "parameters")
            # A name that is cut short cannot be used.
            table.add_column(column, justify="right" if numbers else "left", no_wrap=column == "source")
        for row in rows:
            table.add_row(*row.values())
        blocks.append(table)
    return Group(*blocks)


def streaming_table(rows: list[dict[str, float]]) -> Table:
    """Latency and cost of a streaming encoder at several chunk sizes."""
    table = Table(title="streaming", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("chunk", "look-ahead", "worst age of a sample", "GMAC/s, all in", "state"):
        table.add_column(name, justify="right")
    for row in rows:
        waits = (milliseconds(row[name]) for name in ("chunk_ms", "lookahead_ms", "worst_age_ms"))
        table.add_row(*waits, f"{row['macs_per_s'] / 1e9:.3f}", f"{row['state_bytes'] / 1024:.0f} KiB")
    return table


def _facts(title: str, about: str, rows: list[tuple[str, str]]) -> Table:
    table = Table(title=f"{title}: {about}" if about else title, title_justify="left", box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for row in rows:
        table.add_row(*row)
    return table


def _size_rows(info: dict[str, Any]) -> list[tuple[str, str]]:
    teacher, sizes = info.get("teacher") or {}, info["size_bytes"]
    shape = f"{counted(info['layers'], 'layer')}, {info['width']} wide, a frame every {info['hop_ms']:g} ms"
    against = {"parameters": "", "macs_per_s": ""}
    # Nothing but the name is known of a teacher that was never loaded.
    if "parameters" in teacher:
        published = teacher["published_parameters"] or teacher["parameters"]
        against["parameters"] = f"  (teacher {published / 1e6:.1f} M)"
        against["macs_per_s"] = f"  (teacher {giga_macs(teacher['macs_per_s'])})"
    return [
        ("encoder", shape),
        ("parameters", millions(info["parameters"]) + _pruned_from(info) + against["parameters"]),
        ("per second of audio", giga_macs(info["macs_per_s"]) + against["macs_per_s"]),
        ("weights to expect", ", ".join(f"{name} {megabytes(sizes[name])}" for name in ("fp32", "fp16", "int8"))),
    ]


def _pruned_from(info: dict[str, Any]) -> str:
    before = info.get("parameters_before_pruning")
    return f" expected after pruning {millions(before)}" if before else ""


def _sight_rows(info: dict[str, Any]) -> list[tuple[str, str]]:
    front, position = (info["sight"][name] for name in ("front_end", "position_conv"))
    # What makes one frame depend on the whole recording.
    why = ", ".join(words for name, words in _ENDLESS.items() if name in info["sight"])
    rows = []
    for name, title in (("receptive_field_ms", "receptive field"), ("lookahead_ms", "look-ahead")):
        # Shown all the same: it is what remains once the endless parts are exchanged.
        limited = position[name] if info[name] is None else info[name]
        rest = f"{milliseconds(limited)}; front end alone {milliseconds(front[name])}"
        text = f"whole recording ({why}); without that {rest}" if info[name] is None else rest
        rows.append((title, text))
    if info["blockers"]:
        return [*rows, ("streaming", f"no: {info['blockers'][0]}")]
    return [*rows, ("streaming", f"yes, in chunks of any size; {milliseconds(info['chunk_ms'])} by default")]


def _recipe_rows(info: dict[str, Any]) -> list[tuple[str, str]]:
    teacher, match, train = info["teacher"], info["match"], info["recipe"]["train"]
    rows = _published_rows(info["published"]) if info["published"] else []
    rows += [("teacher", teacher["source"]), *(_teacher_rows(teacher) if "parameters" in teacher else [])]
    if match["clusters"]:
        asked = match["clusters"]
        clusters = counted(asked["count"], "cluster")
        words = f"{clusters} of teacher layer {_join(asked['layers'])}, weight {asked['weight']:g}"
        rows.append(("units", f"{words}, predicted by the last layer"))
    if not match["layers"] and not match["pairs"]:
        rows.append(("matched", "no layers"))
    elif match["style"] == "heads":
        heads = millions(info["training_only_parameters"])
        rows.append(("matched", f"teacher layers {_join(match['layers'])}; heads of {heads} parameters, dropped later"))
    else:
        pairs = ", ".join(f"{student} -> {layer}" for student, layer in match["pairs"])
        only = info["training_only_parameters"]
        heads = f"projections of {millions(only)} parameters, dropped later" if only else "no heads"
        rows.append(("matched", f"student -> teacher layer {pairs}; {heads}"))
    if match["layers"] or match["pairs"]:
        rows.append(
            ("by", ", ".join(f"{weight:g} x {OBJECTIVES[name].words}" for name, weight in match["terms"].items()))
        )
    if hear := info["recipe"].get("hear"):
        rows.append(("student hears", hear_words(hear)))
    batch = f"{train['batch']} x up to {train['crop_s']:g} s"
    rows.append(("training", f"{counted(train['steps'], 'step')} of {batch}, lr {train['lr']:g}, {train['precision']}"))
    return [*rows, ("paper", info["paper"])] if info["paper"] else rows


def hear_words(section: dict[str, Any]) -> str:
    """The section `hear` of a recipe, for people."""
    hear = Hear(**section)
    parts = [f"{hear.mask_prob:.0%} of the frames masked for the student only"] if hear.mask_prob is not None else []
    if hear.noise_prob is not None:
        low, high = hear.snr_range_db
        parts.append(
            f"{', '.join(hear.kinds)} under {hear.noise_prob:.0%} of the recordings, {low:g} to {high:g} dB below"
        )
    return "; ".join(parts)


def _published_rows(published: dict[str, Any]) -> list[tuple[str, str]]:
    """What the authors count, here and with them."""
    heads = {"none": "", "last": ", with the last layer's projection", "all": ", with all projections"}
    here, theirs = published["parameters_here"], published["parameters"]
    text = f"{millions(theirs)} parameters; counted the same way, {millions(here)} here{heads[published['heads']]}"
    rows = [("published", text)]
    if published["macs_per_s"]:
        seen = f", with attention over {published['attention_s']:g} s" if published["attention_s"] else ""
        theirs, here = giga_macs(published["macs_per_s"]), published["macs_per_s_here"]
        counted = f"counted the same way, {giga_macs(here)} here{heads[published['heads']]}" if here else "here learned"
        rows.append(("", f"{theirs}; {counted}{seen}"))
    return rows


def _lineage_rows(info: dict[str, Any]) -> list[tuple[str, str]]:
    teacher = info["teacher"] or {}
    rows = [("recipe", info["recipe_name"]), ("teacher", teacher.get("source")), ("steps", info["steps"])]
    rows += [("state", words(info["interrupted"]))] if info.get("interrupted") else []
    rows += [("started from", f"{parent['path']} ({parent['sha256'][:12]})") for parent in info["parents"]]
    pruned = info["prune"] or {}
    if pruned:
        rows.append(("pruned by", pruned["method"]))
    # Absent or null where the width was left as it was.
    before, after = pruned.get("width") or (0, 0)
    if before != after:
        rows.append(("width", f"{after} of {before}"))
    for name, pairs in pruned.get("units", {}).items():
        rows.append((f"{name} units", ", ".join(f"{new} of {old}" for old, new in pairs)))
    for name, share in pruned.get("layers", {}).items():
        rows.append((name, f"{share:.1%} zeros"))
    rows.append(("quantised for", info["quantize"]))
    for name, line in info["heads"].items():
        rows.append((f"head {name}", "; ".join(f"{key} {value}" for key, value in head_rows(line))))
    # A card of another's checkpoint says little of its making.
    return [(name, str(value)) for name, value in rows if value is not None]


def _teacher_rows(teacher: dict[str, Any]) -> list[tuple[str, str]]:
    count = f"{millions(teacher['parameters'])} parameters"
    if teacher["published_parameters"]:
        count += f" ({millions(teacher['published_parameters'])} with its pre-training heads, as often published)"
    shape = f"{counted(teacher['layers'], 'layer')}, {teacher['width']} wide"
    rows = [("", f"{teacher['family']}, {shape}"), ("", count)]
    if teacher["macs_per_s"] is not None:
        rows.append(("", giga_macs(teacher["macs_per_s"])))
    if "normalize_input" in teacher:
        scaled = "normalised" if teacher["normalize_input"] else "as it is"
        rows.append(("", f"takes the waveform {scaled}; a frame every {teacher['hop_ms']:g} ms"))
    if not teacher["waveform_front_end"]:
        rows.append(("", "no waveform front end to initialise a student from"))
    return rows


def _parts_table(info: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("part")
    for name in ("parameters", "GMAC/s", "share of MACs"):
        table.add_column(name, justify="right")
    whole = info["macs_per_s"]
    for name, part in info["parts"].items():
        macs = part["macs_per_s"]
        table.add_row(_PARTS[name], f"{part['parameters']:,}", f"{macs / 1e9:.3f}", f"{100 * macs / whole:.0f} %")
    # The parts above are those before pruning, so their sum must be too.
    total = info.get("parameters_before_pruning", info["parameters"])
    table.add_row("total", f"{total:,}", f"{whole / 1e9:.3f}", "", style="bold")
    return table


def _ls_row(kind: str, item: dict[str, Any]) -> dict[str, str]:
    if kind == "recipes":
        return {"name": item["name"], "about": item["about"], "teacher": item["teacher"]}
    if kind == "teachers":
        numbers = {
            "layers": str(item["layers"]),
            "width": str(item["width"]),
            "parameters": millions(item["parameters"]),
        }
        return {"source": item["source"], **numbers, "about": item["about"]}
    if kind == "students":
        chunks = ", ".join(f"{chunk_ms:g}" for chunk_ms in item["chunk_ms"])
        facts = {"heads": ", ".join(item["heads"]) or "-", "quantize": item["quantize"], "chunks (ms)": chunks}
        return {"name": item["name"], **facts, "size": megabytes(item["size_bytes"]), "teacher": item["teacher"] or "-"}
    if kind == "targets":
        chunks = ", ".join(f"{chunk_ms:g}" for chunk_ms in item["chunks_ms"])
        runs = "" if item["runs_here"] else "; exported here, runs on the device only"
        backend = {"backend": item["backend"], "quantize": item["quantize"], "chunks (ms)": chunks}
        return {"name": item["name"], **backend, "about": item["about"] + runs}
    cores = {"big cores": item["big_cores"], "threads": str(item["threads"])}
    return {"device": item["address"] or item["name"], "state": item["state"], "chipset": item["chipset"], **cores}


def _join(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
