"""Rows of YOLO's label files: what stands in them, and what the rows of a whole source mean.

``class cx cy width height``, in shares of the image, is the rule. A sixth number, corners, outlines
and key points are told apart by all rows of a source together: one alone may be any of them.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from curation.formats.class_lists import BREAK

Sixth: TypeAlias = Literal["", "confidence", "track", "radians", "degrees", "angle or track", "?"]
Corners: TypeAlias = tuple[float, float, float, float]

SIDES, SIXTH, TRIPLE, QUAD = 4, 5, 6, 8
"""Numbers behind the class: of a box, with one more, with two more, of four corners."""
UPRIGHT_PX = 0.5
"""What the corners of an upright rectangle may be off by."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_NO_NUMBER = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_EXPECTED = "expected `class cx cy width height`"
_FULL_TURN = 2 * math.pi + 1e-3
_WHOLE_DEGREE = 1e-4
"""Radians by which a written angle of whole degrees may be off it."""
_LEAST_DIGITS = 4
"""Behind the point: with fewer, most numbers are near an angle of whole degrees."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of numbers.

    Attributes:
        line: where it stands, from 1.
        number: of its class.
        values: the numbers behind that, packed: outlines of a large set are many.
        sixth: the last of them as it is written, where it is one more than a box has.
    """

    line: int
    number: int
    values: array[float]
    sixth: str = ""


@dataclass(slots=True)
class Rows:
    """What stands in one file.

    Attributes:
        good: rows of numbers.
        wrong: line and cause of those that are none.
        comments: lines that begin with ``#``.
    """

    good: list[Row]
    wrong: list[tuple[int, str]]
    comments: int = 0

    @classmethod
    def of(cls, text: str) -> Rows:
        """Read a text; a byte order mark may begin any line, for files are joined."""
        rows = cls([], [])
        for line, written in enumerate(BREAK.split(text), 1):
            words = written.strip().lstrip("\ufeff").split()
            if not words:
                continue
            if words[0].startswith("#"):
                rows.comments += 1
                continue
            row = _row(line, words)
            if isinstance(row, str):
                rows.wrong.append((line, row))
            else:
                rows.good.append(row)
        return rows

    @property
    def count(self) -> int:
        """Rows, good or not."""
        return len(self.good) + len(self.wrong)


def begins_like_rows(text: str) -> bool:
    """Whether the first row of a text is one of a label file."""
    for written in BREAK.split(text[:4096]):
        words = written.lstrip("\ufeff").split()
        if words and not words[0].startswith("#"):
            return len(words) > SIDES and not isinstance(_row(0, words), str)
    return False


def _row(line: int, words: Sequence[str]) -> Row | str:
    """The row, or what is wrong with it."""
    for word in words:
        if _NO_NUMBER.fullmatch(word):
            return f"{word!r} is not finite"
        if not _NUMBER.fullmatch(word):
            return f"{_EXPECTED}, all numbers: {word[:40]!r} is none"
    values = [float(word) for word in words]
    if not all(math.isfinite(value) and abs(value) < 1e9 for value in values):
        return "a number is not finite, or far too great"
    if not values[0].is_integer():  # numpy.savetxt writes 1.000000000000000000e+00
        return f"the class {words[0]} is no whole number"
    if len(words) <= SIDES:
        return f"{_EXPECTED}, found {len(words)} numbers"
    sixth = words[-1] if len(words) == 1 + SIXTH else ""
    return Row(line, int(values[0]), array("d", values[1:]), sixth)


@dataclass(frozen=True, slots=True)
class Reading:
    """How the rows of a source are read.

    Attributes:
        sixth: what a fifth number behind the class is.
        quads: whether four corners are an outline, or a rectangle that may be rotated.
        tracks: whether six numbers are a box, its confidence and its track, or a triangle.
        key_points: numbers of a row that has a box and key points; 0 where none has.
    """

    sixth: Sixth = ""
    quads: Literal["outline", "rotated"] = "rotated"
    tracks: bool = False
    key_points: int = 0

    @classmethod
    def of(
        cls, files: Sequence[Sequence[Row]], key_points: int = 0, rotated: bool = False
    ) -> Reading:
        """Judge all rows of a source, each file's by themselves.

        Args:
            files: the good rows of each.
            key_points: numbers of all key points of an object, as ``kpt_shape`` says; else 0.
            rotated: whether a person said that rectangles are rotated.
        """
        rows = [row for file in files for row in file]
        counts = {len(row.values) for row in rows}
        triples = [row.values[-1] for row in rows if len(row.values) == TRIPLE]
        tracks = bool(triples) and all(v >= 1 and v.is_integer() for v in triples)
        with_points = SIDES + key_points if key_points else 0
        others = counts - {SIDES, SIXTH, QUAD, with_points} - ({TRIPLE} if tracks else set())
        outlines = any(count >= TRIPLE and count % 2 == 0 for count in others)
        return cls(
            _sixth(files, rotated), "outline" if outlines else "rotated", tracks, with_points
        )


def _sixth(files: Sequence[Sequence[Row]], rotated: bool) -> Sixth:
    """What the sixth numbers are: judged together, for one alone may be anything."""
    with_sixth = [[row for row in file if len(row.values) == SIXTH] for file in files]
    rows = [row for file in with_sixth for row in file]
    values = [row.values[-1] for row in rows]
    if not values:
        return ""
    if all(0 <= value <= 1 for value in values):
        mixed = any(len(row.values) == SIDES for file in files for row in file)
        alike = rotated or _may_be_angles([row.sixth for row in rows])
        return "?" if alike and not mixed else "confidence"
    if any(value < 0 or not value.is_integer() for value in values):
        return "radians" if all(abs(value) <= _FULL_TURN for value in values) else "degrees"
    once = all(len({row.values[-1] for row in file}) == len(file) for file in with_sixth)
    if not once:  # a track is in an image once
        return "degrees"
    return "track" if max(values) > 360 else "angle or track"


def _may_be_angles(texts: Sequence[str]) -> bool:
    """Whether numbers in 0..1 are all one number, or all of them whole degrees in radians."""
    telling = [text for text in texts if 0 < float(text) < 1]
    if len(telling) < 2:
        return bool(telling) and _is_whole_degree(telling[0])
    return len(set(telling)) == 1 or all(map(_is_whole_degree, telling))


def _is_whole_degree(text: str) -> bool:
    digits = len(text.lower().partition("e")[0].partition(".")[2])
    degrees = math.degrees(float(text))
    off = math.radians(abs(degrees - round(degrees)))
    return (digits >= _LEAST_DIGITS) and off <= _WHOLE_DEGREE


def looks_like_key_points(rows: Sequence[Row]) -> bool:
    """Whether rows that could be outlines are boxes with key points, of which nobody said so.

    All have as many numbers then; read as a box and points, the points lie in the box, while the
    box's sides, read as a point, do not.
    """
    outlines = [row.values for row in rows if len(row.values) >= TRIPLE]
    counts = {len(values) for values in outlines}
    if len(counts) != 1:
        return False
    (count,) = counts
    for step in (2, 3):
        if (count - SIDES) % step:
            continue
        inside = sum(_points_in_box(values, step) for values in outlines)
        telling = sum(not _in_box(values, values[2], values[3]) for values in outlines)
        if inside >= 0.9 * len(outlines) and 2 * telling > len(outlines):
            return True
    return False


def _points_in_box(values: Sequence[float], step: int) -> bool:
    points = [values[start : start + step] for start in range(SIDES, len(values), step)]
    if step == 3 and any(point[2] not in (0, 1, 2) for point in points):
        return False
    seen = [point for point in points if point[0] or point[1]]  # a hidden one is at 0, 0
    return bool(seen) and all(_in_box(values, point[0], point[1]) for point in seen)


def _in_box(values: Sequence[float], x: float, y: float) -> bool:
    cx, cy, width, height = values[:SIDES]
    return abs(x - cx) <= width / 2 + 0.01 and abs(y - cy) <= height / 2 + 0.01
