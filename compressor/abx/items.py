"""Item files, in the format of ZeroSpeech and fastabx: one token of a phone in a line, with its neighbours and speaker.

A header and a row look so, with single spaces between:

    #file onset offset #phone prev-phone next-phone speaker
    6295-244435-0009 0.2925 0.4725 L IH NG 6295
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from speechpress.runtime.errors import SpeechpressError

from ..data.sounds import clip, durations_s

COLUMNS = ("#file", "onset", "offset", "#phone", "prev-phone", "next-phone", "speaker")
ENDINGS = (".flac", ".wav", ".opus", ".ogg", ".mp3", ".sph", ".aiff", ".au", ".caf", ".w64")
MOST_ROWS = 20_000_000
SLACK_S = 0.1  # aligners give the last token the end of their last frame, which may lie beyond the last sample
MICRO = 1_000_000


@dataclass(frozen=True)
class Token:
    """One token of a phone: where it is, which phone, between which others, by whom. Times are whole microseconds."""

    path: str
    onset_us: int
    offset_us: int
    phone: str
    context: tuple[str, str]
    speaker: str

    def frames(self, hop_samples: int, rate: int) -> tuple[int, int]:
        """The frames [start, end) whose middles lie in it, as fastabx counts them: frame k has its middle at k + 1/2.

        In whole numbers, because a middle may lie exactly on an edge.
        """
        whole = 2 * hop_samples * MICRO
        start = -((hop_samples * MICRO - 2 * self.onset_us * rate) // whole)
        end = (2 * self.offset_us * rate - hop_samples * MICRO) // whole + 1
        return start, end


def read_items(path: Path, root: Path) -> list[Token]:
    """The tokens of an item file, with the paths of their recordings under `root`.

    `#file` is a path below `root` without its ending, as fastabx has it, or a name that only one recording there has.

    Raises SpeechpressError: no such file or folder, columns or numbers that are none, recordings that are missing or
    ambiguous, and tokens beyond the end of their recording.
    """
    rows = _rows(path)
    if not root.is_dir():
        raise SpeechpressError(f"--data {root}: is not a folder; give the one that holds the recordings of {path}")
    places = _places(sorted({row[0] for row in rows}), root, path)
    tokens = [Token(places[row[0]], *row[1:]) for row in rows]
    _check_ends(tokens, path)
    return tokens


def _rows(path: Path) -> list[tuple[str, int, int, str, tuple[str, str], str]]:
    try:
        with path.open(encoding="utf-8") as file:
            header = file.readline().split()
            order = _order(path, header)
            rows = []
            for number, line in enumerate(file, 2):
                if number > MOST_ROWS:
                    raise SpeechpressError(f"{path}:{number}: has more than {MOST_ROWS} rows")
                if line.strip():
                    rows.append(_row(f"{path}:{number}", line.split(), order, len(header)))
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "is no UTF-8 text"
        raise SpeechpressError(f"--items {path}: cannot be read ({said}); give an item file") from error
    if not rows:
        raise SpeechpressError(f"--items {path}: has a header and no token")
    return rows


def _order(path: Path, header: Sequence[str]) -> list[int]:
    """Where each of COLUMNS stands."""
    lacking = [name for name in COLUMNS if name not in header]
    if lacking:
        raise SpeechpressError(
            f"{path}:1: no column {lacking[0]!r}; an item file begins with the line {' '.join(COLUMNS)!r}, separated "
            "by spaces"
        )
    return [header.index(name) for name in COLUMNS]


def _row(
    where: str, cells: Sequence[str], order: Sequence[int], width: int
) -> tuple[str, int, int, str, tuple[str, str], str]:
    if len(cells) != width:
        raise SpeechpressError(f"{where}: {len(cells)} fields, but the header has {width}")
    name, onset, offset, phone, before, after, speaker = (cells[place] for place in order)
    start, end = _us(where, onset), _us(where, offset)
    if not 0 <= start < end:
        raise SpeechpressError(
            f"{where}: a token from {onset} to {offset} s; it must begin at 0 or later and end later"
        )
    return name, start, end, phone, (before, after), speaker


def _us(where: str, text: str) -> int:
    try:
        return int((Decimal(text) * MICRO).to_integral_value())
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise SpeechpressError(f"{where}: {text!r} is not a time in seconds") from error


def _places(names: Sequence[str], root: Path, where: Path) -> dict[str, str]:
    """The recording of each name: below `root` at that very path, else the only one of that name."""
    by_path: dict[str, list[Path]] = {}
    by_name: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in ENDINGS:
            by_path.setdefault(path.relative_to(root).with_suffix("").as_posix(), []).append(path)
            by_name.setdefault(path.stem, []).append(path)
    found = {name: by_path.get(name) or by_name.get(name, []) for name in names}
    missing = [name for name, paths in found.items() if not paths]
    if missing:
        raise SpeechpressError(
            f"{where}: {len(missing)} of {len(names)} recordings are not under {root}, the first is {missing[0]!r}; "
            "give the folder that holds them all with --data"
        )
    double = [name for name, paths in found.items() if len(paths) > 1]
    if double:
        first, second = found[double[0]][:2]
        raise SpeechpressError(f"{where}: {double[0]!r} may be {first} or {second}; let --data hold one of them")
    return {name: str(paths[0]) for name, paths in found.items()}


def _check_ends(tokens: Sequence[Token], where: Path) -> None:
    """Raises SpeechpressError for tokens beyond the end of their recording."""
    lengths_s = {sound.parts[0][0]: length for sound, length in _lengths(tokens).items()}
    # A recording of no length cannot be opened; reading it says why.
    late = [token for token in tokens if 0 < lengths_s[token.path] < token.offset_us / MICRO - SLACK_S]
    if late:
        token = late[0]
        raise SpeechpressError(
            f"{where}: {len(late)} tokens end after their recording, the first is a {token.phone} until "
            f"{token.offset_us / MICRO:g} s in {token.path}, which has {lengths_s[token.path]:.2f} s; the item file "
            "and the recordings do not belong together, or its times are not in seconds"
        )


def _lengths(tokens: Sequence[Token]) -> dict:
    return durations_s(clip(path) for path in dict.fromkeys(token.path for token in tokens))


def about(tokens: Sequence[Token]) -> dict[str, int]:
    """How much there is: tokens, phones, contexts, speakers, recordings."""
    return {
        "tokens": len(tokens),
        "phones": len({token.phone for token in tokens}),
        "contexts": len({token.context for token in tokens}),
        "speakers": len({token.speaker for token in tokens}),
        "recordings": len({token.path for token in tokens}),
    }


def lonely(tokens: Sequence[Token]) -> list[str]:
    """Phones that one speaker alone has, so that nothing of them can be compared across speakers."""
    pairs = Counter(phone for phone, _ in {(token.phone, token.speaker) for token in tokens})
    return sorted(phone for phone, speakers in pairs.items() if speakers == 1)
