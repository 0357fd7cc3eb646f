"""Names that people give: what may stand in a terminal, a page and a file."""

import unicodedata

from ..errors import SpeechpressError

LONGEST = 40
# Controls, half characters, ends of lines and paragraphs, and what is no character (yet).
REFUSED = ("Cc", "Cs", "Cn", "Co", "Zl", "Zp")
# Turn the direction of what follows, and so hide what a name is.
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def word_name(text: str) -> str:
    """The name of a word without the spaces around it, cut to LONGEST characters; empty stays empty.

    Raises:
        SpeechpressError: it holds what cannot be shown.
    """
    name = text.strip()
    bad = sorted(
        {character for character in name if character in TURNING or unicodedata.category(character) in REFUSED}
    )
    if bad:
        shown = ", ".join(f"U+{ord(character):04X}" for character in bad[:3])
        raise SpeechpressError(f"the name of a word holds {shown}, which cannot be shown; use letters and spaces")
    # Again: the cut may leave a space at the end.
    return name[:LONGEST].strip()
