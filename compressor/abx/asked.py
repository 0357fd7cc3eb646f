"""What `compress eval --tasks abx` was asked, checked before anything is loaded."""

from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError

from ..models.events import OnText

NAME, VOICES = "abx", "voices"
UNTRAINED = "untrained"  # the student before its first step, among what is compared
Wish = tuple[Path | None, Path | None, int | None, int | None]  # --items, --data, --abx-max, --abx-units


def asks_for_abx(tasks: str | None, items: Path | None, most: int | None, units: int | None) -> bool:
    """Whether abx is asked for; raises SpeechpressError for it beside other tasks, and for its options without it."""
    names = [name.strip() for name in (tasks or "").split(",")]
    if NAME in names and len(names) > 1:
        raise SpeechpressError("eval: --tasks abx stands alone, because it needs no labels of a suite; call eval twice")
    given = {"--items": items, "--abx-max": most, "--abx-units": units}
    if NAME not in names and (lost := [name for name, value in given.items() if value is not None]):
        raise SpeechpressError(f"{lost[0]}: is for --tasks abx; add it")
    return NAME in names


def refuse_beside_abx(**given: Any) -> None:
    """Raises SpeechpressError for options that abx has no use for."""
    if wrong := [name.replace("_", "-") for name, value in given.items() if value]:
        raise SpeechpressError(f"--{wrong[0]}: has no meaning for --tasks abx, which trains nothing; leave it out")


def abx(listen: OnText, source: str, wish: Wish, **settings: Any) -> dict[str, Any]:
    """The document of ABX, with what it is about. Raises SpeechpressError without --items and --data."""
    items, data, most, units = wish
    if items is None or data is None:
        raise SpeechpressError(
            "eval: --tasks abx needs --items FILE, the tokens of phones, and --data FOLDER, their recordings"
        )
    from ..models.scores import stamped
    from .cells import MOST_TOKENS
    from .evaluate import Request, evaluate_abx

    request = Request(items, data, MOST_TOKENS if most is None else most or None, units)
    document = evaluate_abx(source, request, listen=listen, **settings)
    return stamped(document, f"abx of {items.stem}", source)
