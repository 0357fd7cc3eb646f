"""README.md of a repository: YAML that the hub reads, and what a person needs to know to use it."""

import math
from collections.abc import Sequence
from typing import Any

import yaml

from speechpress.runtime.escape import markdown_text
from speechpress.runtime.hub.ids import hub_id
from speechpress.runtime.hub.manifest import BUNDLE

from ..teachers.catalogue import KNOWN
from .contents import README, Contents

TASKS = {
    "accuracy": "audio-classification",
    "per": "automatic-speech-recognition",
    "wer": "automatic-speech-recognition",
}
FEATURES = "feature-extraction"

USE_BUNDLE = """
```python
import speechpress

stream = speechpress.StreamingExtractor(speechpress.load_bundle("{repo}"))
frames, end_s, events = stream.push(samples)  # pieces of any size; then stream.flush()
```

Live: `compress demo {repo}`. Check your copy: `compress verify {repo}`.
"""

USE_WHOLE = """
```python
import speechpress

frames = speechpress.load_bundle("{repo}").offline(samples)  # (S,) float32 at 16 kHz
```

Check your copy: `compress verify {repo}`.
"""

USE_CHECKPOINT = """
```python
import speechpress

encoder = speechpress.load_encoder("{repo}")
states = encoder.hidden_states(waves)  # (B, S) float32 at 16 kHz -> one (B, T, D) per layer
```

For a phone: `compress export {repo} --target android`. As a teacher: `compress distill --teacher {repo}`.
"""


def model_card(contents: Contents, repo: str, license_id: str | None, datasets: Sequence[str]) -> str:
    """The text of README.md."""
    return f"---\n{front_matter(contents, license_id, datasets)}---\n\n{_body(contents, repo)}"


def front_matter(contents: Contents, license_id: str | None, datasets: Sequence[str]) -> str:
    """What the hub sorts models by; only what is known stands in it."""
    base = base_model(contents)
    metadata: dict[str, Any] = {
        **({"license": license_id} if license_id else {}),
        "library_name": "speechpress",
        "pipeline_tag": FEATURES,
        **({"base_model": base} if base else {}),
        **({"datasets": list(datasets)} if datasets else {}),
        "tags": tags(contents),
    }
    if found := results(contents):
        metadata["model-index"] = [{"name": contents.name, "results": found}]
    return yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=1000)


def base_model(contents: Contents) -> str | None:
    """The teacher, where it is known to lie on the hub: a folder of somebody may have a name of the same form."""
    source = str(contents.teacher.get("source") or "")
    asked = hub_id(source)
    known = contents.teacher.get("revision") or source in {teacher.source for teacher in KNOWN}
    return asked.repo if known and asked is not None and "/" in asked.repo else None


def tags(contents: Contents) -> list[str]:
    document = contents.document
    found = ["speech", "self-supervised", "audio", "distillation", "on-device"]
    if contents.kind == BUNDLE:
        found += ["executorch", document["target"]["backend"], document["target"]["name"], document["quantize"]]
        found += ["streaming"] * bool(document["streams"])
        heads = document.get("heads", [])
    else:
        found += ["streaming"] * bool(document.get("streaming"))
        heads = list((document.get("heads") or {}).values())
    found += [str(head.get("kind")) for head in heads if head.get("kind")]
    return list(dict.fromkeys(tag for tag in found if tag != "none"))


def results(contents: Contents) -> list[dict[str, Any]]:
    """Of model-index: eval.json's tasks, and the closeness to the teacher on speech that training did not hear."""
    found, told = [], contents.scores or {"tasks": {}}
    for name, task in told["tasks"].items():
        if not _is_number(task["value"]):
            continue
        kind = TASKS.get(str(task["metric"]), FEATURES)
        words = f"{task['metric']} ({told['layers']} layers)"
        found.append(_result(kind, name, f"{told['suite']} suite: {name}", task["metric"], task["value"], words))
    for layer, figures in _fidelity(contents).items():
        if _is_number(figures.get("cosine")):
            words = f"cosine to layer {layer} of the teacher"
            found.append(
                _result(FEATURES, "fidelity", "held-out speech of the training", "cosine", figures["cosine"], words)
            )
    return found


def _result(kind: str, task: str, dataset: str, metric: str, value: float, words: str) -> dict[str, Any]:
    return {
        "task": {"type": kind, "name": task},
        "dataset": {"name": dataset, "type": dataset.partition(":")[0].replace(" ", "-")},
        "metrics": [{"type": metric, "value": round(value, 4), "name": words}],
    }


def _fidelity(contents: Contents) -> dict[str, Any]:
    if contents.kind == BUNDLE:
        return contents.lineage.get("fidelity") or {}
    return (contents.document.get("valid") or {}).get("end") or {}


def _is_number(value: Any) -> bool:
    # Of a run that diverged: YAML could hold it, the hub refuses it.
    return isinstance(value, int | float) and math.isfinite(value)


def _body(contents: Contents, repo: str) -> str:
    if contents.kind == BUNDLE and (contents.folder / README).is_file():
        # The bundle's own card, which says all of it, without the YAML of an earlier push.
        text = (contents.folder / README).read_text(encoding="utf-8")
        return _without_front_matter(text).rstrip() + "\n\n## From the Hub\n" + _use(contents, repo)
    lines = [f"# {markdown_text(contents.name)}", "", *(f"- {line}" for line in _facts(contents))]
    return "\n".join(lines) + "\n\n## Use\n" + _use(contents, repo)


def _use(contents: Contents, repo: str) -> str:
    if contents.kind == BUNDLE:
        return (USE_BUNDLE if contents.document["streams"] else USE_WHOLE).format(repo=repo)
    return USE_CHECKPOINT.format(repo=repo)


def _facts(contents: Contents) -> list[str]:
    """A checkpoint for people; what its card does not know is left out."""
    card, teacher = contents.document, contents.teacher
    lines = []
    if card.get("parameters"):
        lines.append(f"{card['parameters'] / 1e6:.2f} M parameters")
    if card.get("macs_per_s"):
        lines.append(f"{card['macs_per_s'] / 1e9:.2f} G multiplications per second of audio")
    lines += [
        f"live in chunks of {entry['chunk_ms']:g} ms"
        for entry in (card.get("streaming") or [])[:1]
        if "chunk_ms" in entry
    ]
    if teacher.get("source"):
        pinned = f", commit `{teacher['revision']}`" if teacher.get("revision") else ""
        weights = f", weights sha256 `{teacher['sha256']}`" if teacher.get("sha256") else ""
        lines.append(f"teacher: {markdown_text(str(teacher['source']))}{pinned}{weights}")
    data = card.get("data") or {}
    if "hours" in data:
        lines.append(f"trained {card.get('steps')} steps on {data['hours']:.1f} h of speech")
    lines += [
        f"layer {markdown_text(layer)}: cosine {figures['cosine']:.4f} to the teacher on held-out speech"
        for layer, figures in _fidelity(contents).items()
        if _is_number(figures.get("cosine"))
    ]
    return lines


def _without_front_matter(text: str) -> str:
    _, fence, rest = text.partition("---\n") if text.startswith("---\n") else ("", "", "")
    return rest.partition("\n---\n")[2].lstrip() if fence else text
