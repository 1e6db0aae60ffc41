"""JSON from outside, read as what it says or not at all.

Python's reader takes the last of two fields of one name, knows NaN, and turns 1e999 into infinity:
each would store something that nobody said.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from curation.formats.text_files import decode_json
from curation.kernel.errors import AnnotationsInvalid
from services.errors import InvalidRequest

MAX_CONTAINERS = 2_000_000
"""Lists and objects of a document. A list takes 2 bytes of text and 64 of memory; a label file has
3 an annotation, of 100 bytes and more."""

EXACT = 2**53
"""Below this a float says which whole number it is."""


def loads(text: str | bytes, where: str) -> Any:
    """The value of a JSON document.

    Args:
        text: bytes are decoded by :func:`curation.formats.text_files.decode_json`.
        where: what to call it in messages.

    Raises:
        InvalidRequest: not JSON, nested too deeply, with too many lists, with a field twice, or
            with a number that is none.
    """
    if isinstance(text, bytes):
        text = _decoded(text, where)
    if text.count("[") + text.count("{") > MAX_CONTAINERS:
        raise InvalidRequest(f"{where}: over {MAX_CONTAINERS} lists and objects; send it in parts")
    try:
        return json.loads(
            text, object_pairs_hook=_once, parse_constant=_refused, parse_float=_finite
        )
    except RecursionError as error:
        raise InvalidRequest(f"{where}: nested too deeply") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest(f"{where}: not JSON: {error.msg} ({place})") from error
    except ValueError as error:
        raise InvalidRequest(f"{where}: {error}") from error


def _decoded(data: bytes, where: str) -> str:
    try:
        return decode_json(data, where)
    except AnnotationsInvalid as error:
        told = str(error).removeprefix(where).lstrip(",: ")
        raise InvalidRequest(f"{where}: not JSON: {told}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"the field {twice[:80]!r} is there twice; which one counts?")
    return found


def _finite(text: str) -> float | int:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large for a number")
    whole = value.is_integer() and abs(value) < EXACT
    return int(value) if whole else value  # JSON knows one kind of numbers: 5.0 is 5


def _refused(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")
