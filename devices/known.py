"""Devices of which facts ship, one YAML each. An unknown one works as well: what is here only chooses cores better."""

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Known:
    """Facts of one model.

    `models`: beginnings of the model as the device itself tells it. `big_cores`: numbers of the fast ones, () when all
    are alike or the system does not let programs choose. `threads`: for a stream, unless told.
    """

    name: str
    about: str
    chipset: str
    models: tuple[str, ...]
    big_cores: tuple[int, ...]
    threads: int
    notes: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As `compress ls devices` tells it."""
        cores = ", ".join(map(str, self.big_cores)) or "all"
        return {
            "name": self.name,
            "about": self.about,
            "chipset": self.chipset,
            "big_cores": cores,
            "threads": self.threads,
            "notes": self.notes,
        }


def known_devices() -> list[Known]:
    """All of them, by name."""
    files = resources.files(__package__).iterdir()
    found = sorted((file for file in files if file.name.endswith(".yaml")), key=lambda file: file.name)
    return [_read(file.name, file.read_text("utf-8")) for file in found]


def match(model: str | None) -> Known | None:
    """The known device of this model; None when there is none."""
    if model is None:
        return None
    plain = _plain(model)
    fitting = [item for item in known_devices() if any(plain.startswith(_plain(words)) for words in item.models)]
    # "Pixel 7 Pro" begins as "Pixel 7" does.
    return max(fitting, key=lambda item: max(map(len, item.models)), default=None)


def _plain(model: str) -> str:
    """adb writes blanks and hyphens as underscores."""
    return model.replace("_", " ").replace("-", " ")


def big_cores(cores: list[dict[str, Any]], known: Known | None) -> list[int]:
    """The fast cores: as known, else those with the highest capacity or clock; all of them when they are alike."""
    if known is not None and known.big_cores:
        return list(known.big_cores)
    # Capacity first: cores of different kinds may share a clock.
    for key in ("capacity", "max_khz"):
        values = [core[key] for core in cores]
        # A core that is off tells nothing, and comparing the rest could name the wrong ones.
        if values and None not in values:
            return [core["core"] for core in cores if core[key] == max(values)]
    return [core["core"] for core in cores]


def _read(name: str, text: str) -> Known:
    try:
        # As speechpress-runtime has them, which brings no reader of YAML.
        value = json.loads(text)
    except ValueError:
        import yaml

        value = yaml.safe_load(text)
    lists = {key: tuple(value[key]) for key in ("models", "big_cores")}
    return Known(name=name.removesuffix(".yaml"), **{**value, **lists})
