r"""Text from outside, made harmless: for a database, for a log, for a terminal.

A name may hold bytes that a terminal obeys: they clear the screen, rename the window or hide what
stands before them. What is stored loses them; what is shown shows them as ``\x1b``, so that nobody
is misled about the name either.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

_OF_LINES = "\n\t"


def plain_text(text: str, limit: int, lines: bool = False) -> str:
    """The last ``limit`` characters, without those that a database or a terminal chokes on.

    PostgreSQL refuses a zero byte, and no encoder takes half of a surrogate pair.

    Args:
        text: from outside.
        limit: characters.
        lines: keep the ends of lines and tabs; else they become spaces, as in a name.
    """
    if not lines:
        text = " ".join(text.split()) if any(c in text for c in _OF_LINES) else text
    kept = (c for c in text if c.isprintable() or (lines and c in _OF_LINES))
    return "".join(kept)[-limit:]


def visible(text: str, lines: bool = True) -> str:
    """The same with every character that a terminal might obey as its code.

    Args:
        text: from outside.
        lines: leave the ends of lines and tabs as they are.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or (lines and c in _OF_LINES) else _code(c) for c in text)


def json_text(
    value: Any, indent: int | None = None, default: Callable[[Any], Any] | None = str
) -> str:
    """A value as JSON that may be shown: what a terminal might obey is escaped, nothing is lost."""
    text = json.dumps(value, indent=indent, default=default, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _code(c: str) -> str:
    r"""As Python writes it: ``\x1b``, ``\u202e``."""
    return c.encode("unicode_escape").decode("ascii")


def _escaped(c: str) -> str:
    """As JSON writes it, a pair of codes beyond 16 bits."""
    return json.dumps(c)[1:-1]


def beside(region: dict[str, Any]) -> str:
    """``region 2``, without which this one does no harm; "" of one that hurts by itself.

    Explanations of earlier versions do not tell.
    """
    other = region.get("only_with")
    return "" if other is None else f"region {other + 1}"
