"""What every reader returns, and the checks that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from curation.formats.splits import SplitChoice
from curation.kernel.boxes import LEAST_SIDE_PX, ROUNDING, clip_boxes, require_valid_boxes, too_thin
from curation.kernel.class_names import clean_class_name
from curation.kernel.class_names import wrong_class_name as wrong_class_name
from curation.kernel.errors import InvalidBoxes
from curation.kernel.types import FloatArray


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a person said of a source beside its name.

    Attributes:
        images: the folder that the names of pictures start from, where they lie elsewhere.
        splits: which splits are wanted.
        class_names: by number, None where a number is not used, for files that only have
            numbers; None: what the source lists.
        enclose_rotated: whether a rotated rectangle becomes the upright one around it; it is
            refused otherwise, for that is larger than the object.
        clip: whether a box that leaves its picture is cut at the border; it is refused otherwise.
    """

    images: Path | None = None
    splits: SplitChoice = field(default_factory=SplitChoice)
    class_names: tuple[str | None, ...] | None = None
    enclose_rotated: bool = False
    clip: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """An entry that was left out.

    Attributes:
        where: file and entry.
        message: what is wrong with it and what to do.
        loses: what is missing for it: the image, some of the labels, or nothing.
    """

    where: str
    message: str
    loses: Literal["image", "labels", "nothing"] = "labels"


@dataclass(frozen=True, slots=True, eq=False)
class ImportedImage:
    """One image with its labels.

    Attributes:
        path: where it lies.
        width_px: as annotated; 0 where the format does not say.
        height_px: the same.
        boxes_xyxy: [M, 4] float32 px.
        labels: M class names.
        ignore: M flags.
        group: such as the drive or town that it comes from.
        refused: objects of it that were left out; with any, the labels are not the whole truth.
        unlabelled: whether nothing at all is said of it, as a missing label file does: by its
            format there is nothing in it, unless nobody has looked yet.
        annotated_in: the annotation file that the entry stands in, where a source may have
            several; "": the source itself.
    """

    path: Path
    width_px: int
    height_px: int
    boxes_xyxy: FloatArray
    labels: tuple[str, ...]
    ignore: tuple[bool, ...]
    group: str = ""
    refused: tuple[Problem, ...] = ()
    unlabelled: bool = False
    annotated_in: str = ""


@dataclass(frozen=True, slots=True)
class Imported:
    """What a reader found.

    Attributes:
        class_names: as the format lists them, without background.
        items: images with their labels.
        problems: what was left out.
        labelled: False for a plain folder of images.
        doubt: why no label of the file can be trusted, with the likely cause; empty if all is well.
        notes: what else a person should know.
    """

    class_names: tuple[str, ...]
    items: tuple[ImportedImage, ...]
    problems: tuple[Problem, ...] = ()
    labelled: bool = True
    doubt: str = ""
    notes: tuple[str, ...] = ()

    def with_small_ignored(self, min_side_px: float) -> Imported:
        """The same, with boxes that have a side below ``min_side_px`` as ignore regions."""
        if min_side_px <= 0:
            return self
        return replace(self, items=tuple(_ignore_small(item, min_side_px) for item in self.items))


_UNSEEN = (
    f"boxes have a side below {LEAST_SIDE_PX:g} px, which nobody can see: they became ignore "
    "regions"
)


@dataclass(slots=True)
class Mended:
    """Counts what was taken otherwise than it stands in a file; a person is told.

    Attributes:
        repeated: rows that another of the same image says already, dropped.
        unseen: boxes too small to be seen, kept as ignore regions.
        clipped: boxes that were cut at the border of their picture by more than rounding.
        enclosing: rotated rectangles that became the upright ones around them.
        outlines: polygons and masks that became the boxes around them.
    """

    repeated: int = 0
    unseen: int = 0
    clipped: int = 0
    enclosing: int = 0
    outlines: int = 0

    def notes(self) -> tuple[str, ...]:
        """A line about each kind that there was."""
        told = (
            (self.repeated, "rows say again what another row says, and were dropped"),
            (self.unseen, _UNSEEN),
            (self.clipped, "boxes left their pictures and were cut at the border"),
            (self.enclosing, "rotated rectangles became the upright boxes around them"),
            (self.outlines, "objects have an outline and no box: the box around it was taken"),
        )
        return tuple(f"{count} {what}" for count, what in told if count)


@dataclass(slots=True)
class Labels:
    """Collects the good boxes of one image and the problems of the others.

    Args:
        where: what to call the image in problems.
        size_wh: of the image; (0, 0) where it is unknown, then only shape is checked.
        problems: list to add to.
        refused: the problems of this image; what was refused before this list was made.
        mended: is told what was taken otherwise than it stands.
        clip: whether boxes that leave the image are cut at its border.
    """

    where: str
    size_wh: tuple[int, int]
    problems: list[Problem]
    boxes: list[FloatArray] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    ignore: list[bool] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)
    mended: Mended = field(default_factory=Mended)
    clip: bool = False
    _known: set[tuple[bytes, str]] = field(default_factory=set)

    def refuse(self, entry: str, why: str) -> None:
        """Note why an object is left out."""
        self.refused.append(Problem(f"{self.where}, {entry}", f"left out: {why}"))
        self.problems.append(self.refused[-1])

    def add(self, box_xyxy: Sequence[float], name: str, ignore: bool, entry: str) -> None:
        """Take a box, or note why it is left out."""
        width, height = self.size_wh if all(self.size_wh) else (10**9, 10**9)
        where = f"{self.where}, {entry}"
        if wrong := wrong_class_name(name):
            self.refuse(entry, wrong)
            return
        try:
            with np.errstate(over="ignore"):  # 1e39 becomes infinite, which is refused
                values = np.asarray(box_xyxy, np.float32).reshape(1, 4)
            if self.clip and self._leaves(values):
                values = self._cut(values)
            clean = require_valid_boxes(values, width, height, where)
        except (InvalidBoxes, ValueError, TypeError) as error:
            self.refuse(entry, str(error).removeprefix(f"{where}: "))
            return
        self._take(clean[0], clean_class_name(name), ignore)

    def _take(self, box: FloatArray, name: str, ignore: bool) -> None:
        key = ((box + 0).tobytes(), name)  # -0 and 0 are one place
        if key in self._known:
            self.mended.repeated += 1  # the second of them could never be found
            return
        self._known.add(key)
        if too_thin(box[None])[0]:
            self.mended.unseen += not ignore
            ignore = True
        self.boxes.append(box)
        self.names.append(name)
        self.ignore.append(ignore)

    def _leaves(self, values: FloatArray) -> bool:
        width, height = self.size_wh
        limits = np.array([width, height, width, height], np.float32)
        known = all(self.size_wh) and bool(np.isfinite(values).all())
        return known and bool(((values < -ROUNDING) | (values > limits + ROUNDING)).any())

    def _cut(self, values: FloatArray) -> FloatArray:
        self.mended.clipped += 1
        return clip_boxes(values, *self.size_wh)

    def image(
        self, path: Path, group: str = "", unlabelled: bool = False, annotated_in: str = ""
    ) -> ImportedImage:
        """The image with what was taken."""
        boxes = np.stack(self.boxes) if self.boxes else np.zeros((0, 4), np.float32)
        return ImportedImage(
            path,
            *self.size_wh,
            boxes,
            tuple(self.names),
            tuple(self.ignore),
            group,
            tuple(self.refused),
            unlabelled,
            annotated_in,
        )


def nothing_to_learn(items: Sequence[ImportedImage]) -> list[str]:
    """A note where objects are there and none of them counts."""
    flags = [ignored for item in items for ignored in item.ignore]
    if not flags or not all(flags):
        return []
    told = f"all {len(flags)} objects are marked as crowd, ignore or difficult: nothing is left to"
    return [f"{told} learn from {len(items)} images"]


def _ignore_small(item: ImportedImage, min_side_px: float) -> ImportedImage:
    sides = (item.boxes_xyxy[:, 2:] - item.boxes_xyxy[:, :2]).min(axis=1, initial=np.inf)
    small = [bool(side < min_side_px) for side in sides]
    ignore = tuple(old or new for old, new in zip(item.ignore, small, strict=True))
    return replace(item, ignore=ignore)
