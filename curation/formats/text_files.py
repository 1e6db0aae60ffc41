"""Text as it was written, or an error: nothing is guessed and nothing is replaced."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

from curation.kernel.errors import AnnotationsInvalid

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode(data: bytes, where: str) -> str:
    """Text in UTF-8, or in UTF-16 or UTF-32 with a byte order mark; the mark is dropped.

    Args:
        data: of the whole file.
        where: what to call it in messages.

    Raises:
        AnnotationsInvalid: it is in another encoding; the message says where and what to do.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise AnnotationsInvalid(
            f"{where}, line {line}: not text in UTF-8 (byte 0x{data[error.start]:02x}); save it as "
            "UTF-8: an editor asks for the encoding when it saves, and `iconv -f CP1252 -t UTF-8` "
            "does it for Western Europe, CP1251 for Cyrillic, CP936, CP950 and CP932 for Chinese "
            "and Japanese"
        ) from error
    if "\0" in text:
        raise AnnotationsInvalid(
            f"{where}: has zero bytes, so this is no text in UTF-8; if it is text, such as UTF-16 "
            "without its mark, save it as UTF-8"
        )
    return text


def encoding_of_json(head: bytes) -> str:
    """The encoding of a JSON document by its first four bytes; its mark, if any, is none of it."""
    encoding = json.detect_encoding(head)
    if encoding in ("utf-16", "utf-32"):  # with a mark
        return f"{encoding}-{'le' if head[:1] == codecs.BOM_UTF16_LE[:1] else 'be'}"
    return encoding.removesuffix("-sig")


def decode_json(data: bytes, where: str) -> str:
    """The text of a JSON document, in UTF-8, UTF-16 or UTF-32, with a byte order mark or without.

    JSON begins with two ASCII characters, so that where zero bytes stand tells the encoding; every
    door that takes JSON reads it by this.

    Args:
        data: of the whole document.
        where: what to call it in messages.

    Raises:
        AnnotationsInvalid: as of :func:`decode`.

    Source:
        RFC 4627, section 3.
    """
    encoding = encoding_of_json(data[:4])
    if encoding == "utf-8" or any(data.startswith(mark) for mark, _ in _MARKS):
        return decode(data, where)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise AnnotationsInvalid(
            f"{where}: begins like {encoding.upper()} and is not; save it as UTF-8"
        ) from error


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """A file that may not be larger than is sensible for what it holds.

    Raises:
        AnnotationsInvalid: it is missing, unreadable or larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # a zero byte in the name is a ValueError
        why = getattr(error, "strerror", None) or error
        raise AnnotationsInvalid(f"{path.name}: cannot be read ({why})") from error
    if len(data) > max_bytes:
        raise AnnotationsInvalid(f"{path.name}: more than {max_bytes // 1024} KiB")
    return data
