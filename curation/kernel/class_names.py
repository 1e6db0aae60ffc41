"""Names of classes: one form in which they are kept, one rule for which are refused.

Every door through which a name comes goes through here: annotation files, class lists, HTTP, label
tools, detectors. Two names are one class exactly if they are equal after ``clean_class_name``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

BACKGROUND = "background"
MAX_NAME = 120
"""Characters of a class name."""

_EMPTY_EDGES = "\u200b\u200e\u200f\u2060\ufeff"
"""Zero-width space, marks of direction, word joiner, byte order mark: nothing at an end of a name.
The two joiners stay: at the end of a Malayalam word they choose the letter."""
_TURNS_TEXT_AROUND = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They reorder what a terminal or a page shows after the name."""


def clean_class_name(name: str) -> str:
    """A name as it is kept: composed (NFC), plain spaces for all others, nothing at its ends.

    Systems and tools differ in how they write é (one character or two) and which space they put
    between words (no-break ones among them); the class is the same. Capitals and the number of
    spaces count.
    """
    composed = unicodedata.normalize("NFC", name)
    spaced = "".join(" " if unicodedata.category(one) == "Zs" else one for one in composed)
    return spaced.strip().strip(_EMPTY_EDGES).strip()


def same_class(name: object, known: Iterable[str]) -> str | None:
    """The one of the known names that means the same class, as it is kept; None if none does."""
    if not isinstance(name, str):
        return None
    known = tuple(known)
    if name in known:
        return name
    clean = clean_class_name(name)
    return next((one for one in known if clean_class_name(one) == clean), None)


def wrong_class_name(name: str) -> str | None:
    """What is wrong with the name of a class once it is cleaned, None if nothing is.

    Joiners (ZWNJ in Persian, ZWJ in Indic scripts and emoji) and marks of direction are letters of
    a name; what steers a terminal or ends a line is not.
    """
    clean = clean_class_name(name)
    if clean == BACKGROUND:
        return f"class {BACKGROUND!r} is kept for what is no object"
    if not any(unicodedata.category(one) not in ("Cf", "Zs") for one in clean):
        return f"class {name[:MAX_NAME]!r} is empty"
    if len(clean) > MAX_NAME:
        return f"class {clean[:MAX_NAME]!r}… is longer than {MAX_NAME} characters"
    for one in clean:
        if why := _refused(one):
            return f"class {clean!r} has {why} in it (U+{ord(one):04X}): take it out"
    return None


def _refused(character: str) -> str:
    """What a character is that no name may have; "" for all others."""
    if character == "\ufffd":
        return "the mark of a character that was lost in decoding"
    if character in _TURNS_TEXT_AROUND:
        return "a control of text direction"
    return {
        "Cc": "a control character",
        "Cs": "half of a character",  # no encoder takes it
        "Zl": "a line break",
        "Zp": "a line break",
    }.get(unicodedata.category(character), "")
