r"""Names of files as they are meant: data sets change computers, and their names change with them.

A zip made by macOS splits é into two characters, Windows writes ``\``, cameras shout ``.JPG``,
Label Studio writes an address and puts a prefix before what was uploaded to it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import PurePath, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

_DIGITS = re.compile(r"(\d+)")
_DRIVE = re.compile(r"^[A-Za-z]:(?=/)")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_LOCAL_FILES = "/data/local-files/"
"""Label Studio's address of a file on the server's own disk, which stands behind ``?d=``."""
_PREFIXES = (re.compile(r"[0-9a-f]{8}-(.+)"), re.compile(r"[0-9a-f]{8}__(.+)"))
"""What Label Studio puts before the name of an uploaded file; the second until its version 1.0."""


def name_key(name: str) -> str:
    """What two names share that mean one file: composed characters, the suffix in lower case."""
    composed = unicodedata.normalize("NFC", name)
    stem, dot, suffix = composed.rpartition(".")
    return f"{stem}{dot}{suffix.lower()}" if stem else composed


def natural_key(path: PurePath) -> tuple[tuple[int | str, ...], ...]:
    """A key for sorting paths as people count: ``frame_9`` before ``frame_10``.

    The characters themselves decide between names that differ in leading zeros only.
    """
    parts = tuple(_natural(part) for part in path.parts)
    return (*parts, tuple(path.parts))


def _natural(text: str) -> tuple[int | str, ...]:
    # Texts stand at even and numbers at odd places, so that only like is compared with like.
    pieces = _DIGITS.split(text)
    return tuple(
        int(piece) if place % 2 and piece.isascii() else piece for place, piece in enumerate(pieces)
    )


def readings(name: str) -> Iterator[PurePosixPath]:
    """What an annotation file may mean by the name of an image, the likeliest first.

    As it stands; an address without its server; ``%C3%A9`` decoded; without the prefix of an
    upload. ``..`` and a drive stay out: they lead out of what a person named.
    """
    seen: set[PurePosixPath] = set()
    for text in _texts(name.replace("\\", "/")):
        for reading in (text, unquote(text)):
            path = _inside(reading)
            for one in (path, *_without_prefix(path)):
                if one.name and one not in seen:
                    seen.add(one)
                    yield one


def is_elsewhere(name: str) -> bool:
    """Whether a name is of another computer: absolute, with a drive, or an address.

    Its folders then say nothing of where the picture lies here.
    """
    text = name.replace("\\", "/")
    return text.startswith("/") or bool(_DRIVE.match(text) or _SCHEME.match(text))


def _texts(name: str) -> Iterator[str]:
    if _SCHEME.match(name) or name.startswith(_LOCAL_FILES):
        parts = urlsplit(name)
        yield from parse_qs(parts.query).get("d", [])
        yield parts.path
    elif "?d=" in name:
        yield name.partition("?d=")[2].partition("&")[0]
    yield _DRIVE.sub("", name)


def _inside(name: str) -> PurePosixPath:
    return PurePosixPath(*(part for part in name.split("/") if part not in ("", ".", "..")))


def _without_prefix(path: PurePosixPath) -> Iterator[PurePosixPath]:
    for prefix in _PREFIXES:
        if found := prefix.fullmatch(path.name):
            yield path.with_name(found[1])
