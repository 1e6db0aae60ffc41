"""One object of a COCO file: its box, however it is given, and whether it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curation.formats.base import Mended
from curation.formats.flags import flag
from curation.formats.numbers import number, numbers
from curation.formats.outlines import box_of_segmentation, upright
from curation.kernel.errors import AnnotationsInvalid

FLAGS = ("iscrowd", "ignore", "difficult")
"""Each of them says that an object is to be neither learnt nor counted as an error."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The box of an object.

    Attributes:
        box_xyxy: x1, y1, x2, y2 px.
        outline: whether it was taken from an outline.
        enclosing: whether it is larger than the rotated rectangle in it.
        clipped: whether a turn took it out of the picture, so that it was cut at the border.
    """

    box_xyxy: list[float]
    outline: bool = False
    enclosing: bool = False
    clipped: bool = False

    def count(self, mended: Mended) -> None:
        """Count what is not as it stands in the file."""
        mended.outlines += self.outline
        mended.enclosing += self.enclosing
        mended.clipped += self.clipped


def shape_of(entry: Mapping[str, Any], size_wh: tuple[int, int], enclose: bool) -> Shape:
    """The box of an annotation: its ``bbox``, or what is around its ``segmentation``.

    Args:
        entry: one of the document's ``annotations``.
        size_wh: of its image; (0, 0) where it is unknown.
        enclose: whether the upright box around a rotated rectangle will do.

    Raises:
        AnnotationsInvalid: it has neither, or is rotated.
    """
    bbox = entry.get("bbox")
    if is_no_box(bbox) and (around := box_of_segmentation(entry.get("segmentation"), size_wh)):
        return Shape(around, outline=True)
    if bbox is None or bbox == []:
        raise AnnotationsInvalid("it has neither `bbox` nor `segmentation`")
    if numbers(bbox, 5):
        raise AnnotationsInvalid(
            "`bbox` is five numbers, as rotated rectangles have: give [x, y, width, height]"
        )
    sides = numbers(bbox, 4)
    if sides is None:
        raise AnnotationsInvalid("`bbox` is not four numbers")
    x, y, width, height = sides
    box = [x, y, x + width, y + height]
    rotation = rotation_of(entry)
    if not rotation:
        return Shape(box)
    found = upright(box, rotation, enclose, size_wh)
    return Shape(found.box_xyxy, enclosing=found.enclosing, clipped=found.clipped)


def is_no_box(bbox: Any) -> bool:
    """Whether ``bbox`` stands for no box, as tools write where they only have an outline."""
    return bbox is None or bbox == [] or numbers(bbox, 4) == [0, 0, 0, 0]


def rotation_of(entry: Mapping[str, Any]) -> float:
    """Degrees by which an object is rotated about its centre, as CVAT and Label Studio say it.

    Raises:
        AnnotationsInvalid: what is said of it is no number.
    """
    attributes = entry.get("attributes")
    for said in (attributes if isinstance(attributes, Mapping) else {}, entry):
        if (value := said.get("rotation")) is not None:
            rotation = number(value)
            if rotation is None:
                raise AnnotationsInvalid(f"`rotation` is {str(value)[:40]!r}: give degrees")
            return rotation
    return 0.0


def is_ignored(entry: Mapping[str, Any]) -> bool:
    """Whether an annotation is an ignore region.

    Raises:
        AnnotationsInvalid: one of its flags says neither yes nor no.
    """
    said = [flag(entry.get(name), name) for name in FLAGS]  # all: a wrong one behind a 1 is told
    return any(said)
