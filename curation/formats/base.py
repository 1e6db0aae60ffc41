"""What every reader returns, and the checks that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from curation.boxes import require_valid_boxes
from curation.class_names import clean_class_name
from curation.class_names import wrong_class_name as wrong_class_name
from curation.errors import InvalidBoxes
from curation.types import FloatArray

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
OTHER_SUFFIXES = (
    *(".jp2", ".j2k", ".jpx", ".jxl", ".heic", ".heif", ".avif", ".jfif", ".pgm", ".ppm", ".pnm"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw", ".tga", ".exr", ".hdr", ".psd", ".svg"),
)
"""Of images that are not read."""


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
    """

    path: Path
    width_px: int
    height_px: int
    boxes_xyxy: FloatArray
    labels: tuple[str, ...]
    ignore: tuple[bool, ...]
    group: str = ""
    refused: tuple[Problem, ...] = ()


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


@dataclass(slots=True)
class Labels:
    """Collects the good boxes of one image and the problems of the others.

    Args:
        where: what to call the image in problems.
        size_wh: of the image; (0, 0) where it is unknown, then only shape is checked.
        problems: list to add to.
        refused: the problems of this image; what was refused before this list was made.
    """

    where: str
    size_wh: tuple[int, int]
    problems: list[Problem]
    boxes: list[FloatArray] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    ignore: list[bool] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)

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
            clean = require_valid_boxes(values, width, height, where)
        except (InvalidBoxes, ValueError, TypeError) as error:
            self.refuse(entry, str(error).removeprefix(f"{where}: "))
            return
        self.boxes.append(clean[0])
        self.names.append(clean_class_name(name))
        self.ignore.append(ignore)

    def image(self, path: Path, group: str = "") -> ImportedImage:
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
        )


def existing_file(base: Path, name: str) -> Path | None:
    """The file ``base / name``; None where it is not there or would lie outside ``base``."""
    try:
        path = (base / name).resolve()
        inside = path.is_relative_to(base.resolve())
        return path if inside and path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, a ring of links
        return None


def image_files(folder: Path) -> list[Path]:
    """All images below a folder, sorted, hidden files left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and path.name[0] != "."
    )


def other_images(folder: Path) -> tuple[str, ...]:
    """A line about the images below a folder that are of no format that is read, if there are."""
    suffixes = Counter(
        path.suffix.lower()
        for path in folder.rglob("*")
        if path.suffix.lower() in OTHER_SUFFIXES and path.is_file() and path.name[0] != "."
    )
    if not suffixes:
        return ()
    listed = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common())
    return (f"files that are not read were passed over: {listed}; make them JPEG or PNG",)


def _ignore_small(item: ImportedImage, min_side_px: float) -> ImportedImage:
    sides = (item.boxes_xyxy[:, 2:] - item.boxes_xyxy[:, :2]).min(axis=1, initial=np.inf)
    small = [bool(side < min_side_px) for side in sides]
    ignore = tuple(old or new for old, new in zip(item.ignore, small, strict=True))
    return replace(item, ignore=ignore)
