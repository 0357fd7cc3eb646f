"""README.md of a bundle: what a person needs to know to use it."""

from pathlib import Path
from typing import Any

from speechpress.runtime.answers.golden import describe as describe_answers
from speechpress.runtime.answers.golden import worst
from speechpress.runtime.bundle import layer_words, output_layers
from speechpress.runtime.escape import markdown_text
from speechpress.runtime.parity import describe

ANDROID = """
## Android

Copy this folder to `app/src/main/assets/{folder}/` and add to `app/build.gradle.kts`:

```kotlin
dependencies {{
    implementation("org.pytorch:executorch-android:{executorch}")
}}
android {{
    androidResources {{ noCompress += "pte" }}
}}
```

`runtime/android` of speechpress holds `StreamingFeatureExtractor.kt`, which opens it, and an app that shows it live.
"""


PYTHON_STREAM = """
```python
from speechpress.runtime.engine import PteEngine
from speechpress.runtime.stream import StreamingExtractor

stream = StreamingExtractor(PteEngine("{folder}", chunk_ms={chunk_ms:g}, threads=1))
frames, end_s, events = stream.push(samples)  # pieces of any size; then stream.flush()
```
"""


PYTHON_EVENTS = """
`events` is what its heads say, each with head, kind, label, start_s, end_s, score, and whether it is final:

```python
for event in events:
    if event.final:
        print(f"{{event.start_s:.2f}} s: {{event.head}} {{event.label}} ({{event.score:.2f}})")
```
"""


PYTHON_OFFLINE = """
```python
from speechpress.runtime.engine import PteEngine

frames = PteEngine("{folder}", threads=1).offline(samples)  # (S,) float32 at 16 kHz -> (T, {width})
```
"""


def write_card(folder: Path, document: dict[str, Any], name: str | None = None) -> None:
    (folder / "README.md").write_text(card(document, name or document["name"]), encoding="utf-8")


def card(document: dict[str, Any], folder: str) -> str:
    """The card of a bundle that lies in a folder of this name."""
    target, features, streams = document["target"], document["features"], document["streams"]
    longest_s = document["offline"]["max_s"]
    teacher = (document["lineage"]["teacher"] or {}).get("source") or "not said"
    lines = [
        # Names are those of other people's folders, and must not become markup.
        f"# {markdown_text(document['name'])} for {target['name']}",
        "",
        f"A speech encoder for {target['description']}: audio at {document['audio']['sample_rate']} Hz in, "
        f"{features['width']} features every {1000 * document['audio']['hop_samples'] / 16_000:g} ms out.",
        "",
        f"- {output_words(features)}",
        f"- backend {target['backend']}, quantisation {document['quantize']}, "
        f"{document['files']['encoder.pte']['size_bytes'] / 1e6:.1f} MB",
        f"- teacher: {markdown_text(teacher)}",
        *(_stream_line(entry) for entry in streams),
        f"- whole recordings up to {longest_s:g} s" if longest_s else "- no whole recordings",
    ]
    if document["window"]:
        lines.append(f"- it does not stream; live, run `window` on the last {document['window']['ms']:g} ms")
    lines += [
        f"- {method} against the checkpoint: {describe(figures)}" for method, figures in document["parity"].items()
    ]
    lines += [f"- {markdown_text(line)}" for line in head_lines(document)]
    lines += [f"- {markdown_text(line)}" for line in score_lines(document["lineage"].get("scores"))]
    if not target["runs_here"]:
        lines.append("- it was made without being run: check the golden clip on the device")
    lines += ["", "Check this copy with: `compress verify` and this folder.", "", "## Python"]
    shown = PYTHON_STREAM if streams else PYTHON_OFFLINE
    chunk_ms = streams[0]["chunk_ms"] if streams else 0
    if document.get("heads") and streams:
        shown += PYTHON_EVENTS
    text = "\n".join(lines) + "\n" + shown.format(folder=folder, chunk_ms=chunk_ms, width=features["width"])
    if target["name"].startswith("android"):
        # Maven knows no local versions such as 1.5.1+cpu.
        text += ANDROID.format(folder=folder, executorch=document["versions"]["executorch"].split("+")[0])
    return text


def output_words(features: dict[str, Any]) -> str:
    """Which layers come out of how many, for people."""
    layers = output_layers(features)
    return f"{layer_words(layers)}{', side by side,' * (len(layers) > 1)} of {features['layers']}"


def head_lines(document: dict[str, Any]) -> list[str]:
    """Heads of a bundle for people: what each answers, how close it is, and what the bundle costs it."""
    lines = []
    for head in document.get("heads", []):
        count = len([label for label in head["labels"] if label])
        line = f"head {head['name']}: {head['kind']}" + (f", {count} label{'s' * (count != 1)}" if count else "")
        figures = [each for outputs in head.get("parity", {}).values() for each in outputs.values()]
        line += f"; against the checkpoint: {describe_answers(worst(figures))}" if figures else "; not run here"
        lines.append(line + metric_words(head.get("metrics")))
    return lines


def metric_words(metrics: dict[str, Any] | None) -> str:
    """What a bundle costs a head, as the end of a line."""
    if not metrics:
        return ""
    if "note" in metrics:
        return f"; not measured on held-out speech: {metrics['note']}"
    return (
        f"; {metrics['metric']} {metrics['before']:.3f} by the checkpoint, {metrics['after']:.3f} from the bundle "
        f"({metrics['clips']} held-out clips, {metrics['method']})"
    )


def score_lines(scores: dict[str, Any] | None) -> list[str]:
    """Scores of the checkpoint that a bundle was made of, for people; none where it was not measured."""
    if not scores:
        return []
    found = []
    for name, task in scores["tasks"].items():
        low, high = task["ci95"]
        beside = "" if task["teacher"] is None else f", its teacher {task['teacher']:.3f}"
        found.append(f"{name} {task['metric']} {task['value']:.3f} ({low:.3f} to {high:.3f}{beside})")
    layers = "last layer" if scores["layers"] == "last" else "learned sum of layers"
    chunks = f", in chunks of {scores['chunk_ms']:g} ms" if scores["chunk_ms"] else ""
    return [f"the checkpoint on the {scores['suite']} suite, {layers}{chunks}: {'; '.join(found)}"]


def _stream_line(entry: dict[str, Any]) -> str:
    lag = f"lag {entry['lag_ms']:g} ms, " if "lag_ms" in entry else ""
    return (
        f"- live in chunks of {entry['chunk_ms']:g} ms: look-ahead {entry['lookahead_ms']:g} ms, {lag}a sample "
        f"is at most {entry['worst_age_ms']:g} ms old when its features come out, besides the time to compute them"
    )
