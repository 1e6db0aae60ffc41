"""The objects of VOC annotations: as they stand in their files, and as boxes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from curation.formats.base import Mended
from curation.formats.flags import flag
from curation.formats.numbers import number
from curation.formats.outlines import box_of_points, upright
from curation.formats.text_files import decode
from curation.kernel.errors import AnnotationsInvalid

MAX_BYTES = 4 * 2**20
"""Of one annotation file; the largest of VOC's own has 10 KiB."""
UNREADABLE = (OSError, ElementTree.ParseError, ValueError, ArithmeticError, LookupError)
"""What :func:`read_annotation` may raise."""
_DECLARED = re.compile(r"^\s*<\?xml[^>]*\?>")
"""Says an encoding that is not that of decoded text."""
SIDES = ("xmin", "ymin", "xmax", "ymax")
FLAGS = ("difficult", "ignore", "iscrowd")


@dataclass(frozen=True, slots=True)
class Written:
    """An object as it stands in its file.

    Attributes:
        element: of the XML.
        corners: xmin, ymin, xmax, ymax; None where there is no ``bndbox``.
    """

    element: ElementTree.Element
    corners: list[float] | None

    @property
    def name(self) -> str:
        """Of its class; "" where there is none."""
        return (self.element.findtext("name") or "").strip()

    def is_ignored(self) -> bool:
        """Whether it is difficult, or marked in another way as not counting.

        Raises:
            AnnotationsInvalid: a flag says neither yes nor no.
        """
        said = [flag(self.element.findtext(name), name) for name in FLAGS]
        return any(said)

    def box(
        self, from_one: bool, enclose: bool, mended: Mended, size_wh: tuple[int, int]
    ) -> list[float]:
        """Its box x1, y1, x2, y2 px, which may still be senseless.

        Args:
            from_one: whether corners count pixels from 1 and include the last.
            enclose: whether the upright box around a rotated rectangle will do.
            mended: counts what is not as it stands.
            size_wh: of the picture, px; (0, 0) where it is unknown.

        Raises:
            AnnotationsInvalid: there is none.
        """
        if self.corners is not None and any(map(math.isnan, self.corners)):
            raise AnnotationsInvalid("`bndbox` is not four numbers")
        rotated = self.element.find("robndbox")
        if self.corners is None and rotated is not None:
            box, rotation = _rotated(rotated)
        elif self.corners is None:
            box, rotation = self._around(mended), 0.0
        else:
            x1, y1, x2, y2 = self.corners
            # A pixel wide counted from 0: its right border is one further.
            last = (x2 + (x1 == x2), y2 + (y1 == y2))
            box = [x1 - 1, y1 - 1, x2, y2] if from_one else [x1, y1, *last]
            rotation = self._rotation()
        if not rotation:
            return box
        found = upright(box, rotation, enclose, size_wh)
        found.count(mended)
        return found.box_xyxy

    def _around(self, mended: Mended) -> list[float]:
        polygon = self.element.find("polygon")
        if polygon is None:
            raise AnnotationsInvalid("it has neither `bndbox` nor `polygon`")
        box = box_of_points(_points(polygon))
        mended.outlines += 1
        return box

    def _rotation(self) -> float:
        """Degrees, as CVAT writes them."""
        for attribute in self.element.iterfind("attributes/attribute"):
            if (attribute.findtext("name") or "").strip().lower() == "rotation":
                said = attribute.findtext("value")
                rotation = number(said or 0)
                if rotation is None:
                    raise AnnotationsInvalid(f"its rotation is {str(said)[:40]!r}: give degrees")
                return rotation
        return 0.0


@dataclass(slots=True)
class Annotation:
    """One XML file.

    Attributes:
        file: where it lies.
        filename: that it names, which may be of another picture.
        size_wh: px, as stated; (0, 0) where it is not.
        objects: as they stand.
        picture: its picture, once that is found.
        where: what to call it in messages.
    """

    file: Path
    filename: str
    size_wh: tuple[int, int]
    objects: list[Written] = field(default_factory=list)
    picture: Path | None = None
    where: str = ""

    def corners(self) -> list[list[float]]:
        """Of all objects that have some."""
        return [one.corners for one in self.objects if one.corners is not None]


def read_annotation(file: Path) -> Annotation:
    """One XML file.

    Raises:
        OSError: it cannot be read.
        ElementTree.ParseError: it is no XML.
        ValueError: it is no annotation, or its size is no number.
        ArithmeticError: its size is endless.
        LookupError: its encoding is unknown.
    """
    root = _parse(file)
    if root.tag != "annotation":
        raise ValueError(f"it begins with <{root.tag[:40]}>")
    width, height = (_number(root, f"size/{side}") for side in ("width", "height"))
    size = (width, height) if width and height else (0, 0)
    there = (entry for entry in root.iter("object") if not _is_deleted(entry))
    objects = [Written(entry, _corners(entry)) for entry in there]
    return Annotation(file, (root.findtext("filename") or "").strip(), size, objects)


def _is_deleted(entry: ElementTree.Element) -> bool:
    """Whether somebody took an object back, as LabelMe's XML marks it."""
    try:
        return flag(entry.findtext("deleted"), "deleted")
    except AnnotationsInvalid:
        return False


def _parse(file: Path) -> ElementTree.Element:
    """The XML tree; entities could expand without bound, so a document type is refused."""
    data = file.read_bytes()
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data)} bytes is too large")
    if b"\0" in data:  # UTF-16, as programs of Windows write it: it would hide a document type
        try:
            data = _DECLARED.sub("", decode(data, "it"), count=1).encode()
        except AnnotationsInvalid as error:
            raise ValueError(str(error)) from error
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ValueError("a document type is not allowed")
    return ElementTree.fromstring(data)


def _number(root: ElementTree.Element, path: str) -> int:
    return max(0, int(float(root.findtext(path) or 0)))


def _corners(entry: ElementTree.Element) -> list[float] | None:
    """The four numbers of ``bndbox``; nan for what is none."""
    bndbox = entry.find("bndbox")
    if bndbox is None:
        return None
    found = [number(bndbox.findtext(side)) for side in SIDES]
    return [math.nan if value is None else value for value in found]


def _rotated(entry: ElementTree.Element) -> tuple[list[float], float]:
    """A rectangle x1, y1, x2, y2 px before it is rotated, and degrees; roLabelImg has radians."""
    found = [number(entry.findtext(name)) for name in ("cx", "cy", "w", "h", "angle")]
    good = [value for value in found if value is not None]
    if len(good) != len(found):
        raise AnnotationsInvalid("`robndbox` is not cx, cy, w, h and angle")
    cx, cy, width, height, angle = good
    box = [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2]
    return box, math.degrees(angle)


def _points(polygon: ElementTree.Element) -> list[tuple[float, float]]:
    """LabelMe's ``pt`` with x and y, or Roboflow's x1, y1, x2, y2 and so on."""
    pairs = [(point.findtext("x"), point.findtext("y")) for point in polygon.iterfind("pt")]
    if not pairs:
        pairs = list(_numbered(polygon))
    found = [(number(x), number(y)) for x, y in pairs]
    good = [(x, y) for x, y in found if x is not None and y is not None]
    if len(good) != len(found):
        raise AnnotationsInvalid("`polygon` has a point without x and y")
    return good


def _numbered(polygon: ElementTree.Element) -> Iterator[tuple[str | None, str | None]]:
    place = 1
    while (x := polygon.findtext(f"x{place}")) is not None:
        yield x, polygon.findtext(f"y{place}")
        place += 1
