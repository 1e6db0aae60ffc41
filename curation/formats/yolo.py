"""YOLO: one text file an image, each line ``class cx cy width height`` in shares of the image."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from curation import images
from curation.boxes import cxcywh_to_xyxy
from curation.errors import AnnotationsInvalid, ImageUnreadable
from curation.formats import doubt
from curation.formats.base import (
    Imported,
    ImportedImage,
    Labels,
    Problem,
    ReadOptions,
)
from curation.formats.tree import Tree, image_files

LABEL_FOLDER, IMAGE_FOLDER = "labels", "images"
NAMES_FILE = "classes.txt"
ROUNDING = 0.01
"""Share of the image that a line may leave it by before the file as a whole is in doubt."""


@dataclass(slots=True)
class _Lines:
    """All lines of a folder, as they stand there.

    Attributes:
        numbers: of the classes that are named.
        shares: cx, cy, width, height.
        files: label files that belong to an image.
        count: lines, with those that cannot be read.
    """

    numbers: set[int] = field(default_factory=set)
    shares: list[list[float]] = field(default_factory=list)
    files: int = 0
    count: int = 0

    def doubt(self, names: tuple[str, ...], refused: int) -> str:
        """Why nothing is what it seems, ``refused`` lines certainly not; "" if all is well."""
        if wrong := doubt.misnumbered("classes", range(len(names)), self.numbers):
            return wrong
        raw, sizes = doubt.as_boxes(self.shares, [(1.0, 1.0)] * len(self.shares))
        if doubt.misread(cxcywh_to_xyxy(raw), raw, sizes, ROUNDING):
            return (
                "its boxes look like x1, y1, x2, y2: YOLO wants centre x, centre y, width, height"
            )
        pixels = int((raw > 1 + ROUNDING).any(axis=1).sum()) > len(raw) / 2
        cause = "its coordinates look like pixels: YOLO wants shares of the image (0..1)"
        return doubt.most(refused, self.count, cause if pixels else "")


def labels_folder(source: Path) -> Path | None:
    """The folder with the label files, None where there is none."""
    folder = source / LABEL_FOLDER
    return folder if folder.is_dir() else None


def is_there(tree: Tree) -> bool:
    """Whether a folder holds a YOLO data set."""
    return labels_folder(tree.root) is not None


def is_description(file: Path) -> bool:
    """Whether a file describes a YOLO data set, as data.yaml and obj.data do."""
    return file.suffix.lower() in (".yaml", ".yml", ".data")


def read(source: Path, options: ReadOptions = ReadOptions()) -> Imported:
    """Read a YOLO folder: ``images/``, ``labels/`` and ``data.yaml`` or ``classes.txt``.

    The class names may lie beside the labels, or above the folder where it is one split of a set.

    Raises:
        AnnotationsInvalid: the class names or the folders are missing.
    """
    labels = labels_folder(source)
    pictures = source / IMAGE_FOLDER
    if labels is None or not pictures.is_dir():
        raise AnnotationsInvalid(f"{source.name}: expected folders `images` and `labels`")
    names = _class_names(source)
    problems: list[Problem] = []
    lines = _Lines()
    items = []
    used = set()
    for path in image_files(pictures):
        file = (labels / path.relative_to(pictures)).with_suffix(".txt")
        used.add(file)
        item = _image(path, file, names, lines, problems)
        if item is not None:
            items.append(item)
    refused = sum(one.loses == "labels" for one in problems)
    used.add(labels / NAMES_FILE)
    alone = sorted(set(labels.rglob("*.txt")) - used)
    problems += [Problem(one.name, "left out: there is no image of this name") for one in alone]
    return Imported(
        names,
        tuple(items),
        tuple(problems),
        doubt=_doubt_of_files(lines.files, len(alone)) or lines.doubt(names, refused),
        notes=Tree.below(pictures).unlooked(),
    )


def _doubt_of_files(used: int, alone: int) -> str:
    """Why images without labels are not to be taken for empty; "" if labels belong to images."""
    if alone <= used:
        return ""
    return (
        f"{alone} of its {used + alone} label files have no image: they must lie below `labels` "
        "as the images lie below `images`, under the same names"
    )


def _image(
    path: Path, file: Path, names: tuple[str, ...], seen: _Lines, problems: list[Problem]
) -> ImportedImage | None:
    try:
        width, height = images.size_of(path.read_bytes(), path.name)
    except (OSError, ImageUnreadable) as error:
        problems.append(Problem(path.name, f"left out: not a readable image ({error})", "image"))
        return None
    labels = Labels(file.name, (width, height), problems)
    seen.files += file.is_file()
    lines = _text(file).splitlines() if file.is_file() else []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        seen.count += 1
        place = f"line {number}"
        try:
            label, *shares = line.split()
            seen.numbers.add(int(label))
            name = names[int(label)] if int(label) >= 0 else names[len(names)]
            # A sixth number is a confidence or a track; more are a polygon, which is no box.
            cx, cy, w, h = (float(share) for share in (shares[:4] if len(shares) < 6 else shares))
        except IndexError:
            labels.refuse(place, f"class {label} of {len(names)}")
            continue
        except ValueError:
            labels.refuse(place, "expected `class cx cy width height`")
            continue
        seen.shares.append([cx, cy, w, h])
        with np.errstate(over="ignore", invalid="ignore"):  # infinite boxes are refused
            shape = np.array([[cx * width, cy * height, w * width, h * height]], np.float32)
            box = cxcywh_to_xyxy(shape)[0]
        labels.add(box.tolist(), name, False, place)
    return labels.image(path)


def _class_names(source: Path) -> tuple[str, ...]:
    for folder in (source, source / LABEL_FOLDER, source.resolve().parent):
        listed = folder / NAMES_FILE
        if listed.is_file():
            return tuple(filter(None, map(str.strip, _text(listed).splitlines())))
        for name in ("data.yaml", "data.yml"):
            if (folder / name).is_file():
                return _names_of_yaml(_text(folder / name), name)
    raise AnnotationsInvalid(f"{source.name}: no classes.txt and no data.yaml with `names`")


def _names_of_yaml(text: str, where: str) -> tuple[str, ...]:
    """``names`` of a data.yaml, as a list or as a map; all that is needed of YAML here."""
    inline = re.search(r"^names:\s*\[(.*?)\]", text, re.M | re.S)
    if inline:
        return tuple(_bare(part) for part in inline.group(1).split(",") if _bare(part))
    block = re.search(r"^names:\s*\n((?:[ \t]+.*\n?|-.*\n?)+)", text, re.M)
    if not block:
        raise AnnotationsInvalid(f"{where}: no `names`")
    rows = [row.split(" #")[0].strip() for row in block.group(1).splitlines() if row.strip()]
    if all(row.startswith("-") for row in rows):
        return tuple(_bare(row.removeprefix("-")) for row in rows)
    return _in_order(rows, where)


def _in_order(rows: list[str], where: str) -> tuple[str, ...]:
    """Names of a map from numbers, which need not be sorted."""
    try:
        numbered = {int(number): _bare(name) for number, name in (r.split(":", 1) for r in rows)}
    except ValueError as error:
        raise AnnotationsInvalid(f"{where}: `names` is neither a list nor numbered") from error
    if sorted(numbered) != list(range(len(rows))):
        raise AnnotationsInvalid(f"{where}: `names` must be numbered from 0 without a gap")
    return tuple(numbered[number] for number in range(len(rows)))


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8-sig", errors="replace")  # some tools write a mark


def _bare(text: str) -> str:
    return text.strip().strip("'\"")
