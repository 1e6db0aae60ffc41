"""Pascal VOC: one XML file an image in ``Annotations``, images in ``JPEGImages``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from curation.boxes import ROUNDING, xywh_to_xyxy
from curation.errors import AnnotationsInvalid
from curation.formats import doubt
from curation.formats.base import (
    Imported,
    ImportedImage,
    Labels,
    Problem,
    ReadOptions,
)
from curation.formats.tree import IMAGE_SUFFIXES, Tree

MAX_BYTES = 4 * 2**20
"""Of one annotation file; the largest of VOC's own has 10 KiB."""


def is_there(tree: Tree) -> bool:
    """Whether a folder holds VOC annotations."""
    return tree.folder("Annotations") is not None


def read(source: Path, options: ReadOptions = ReadOptions()) -> Imported:
    """Read a VOC folder; ``difficult`` objects become ignore regions.

    VOC counts pixels from 1 and includes the last one: boxes are moved by one to the top left.

    Raises:
        AnnotationsInvalid: there is no annotation in ``Annotations``.
    """
    files = sorted((source / "Annotations").glob("*.xml"))
    if not files:
        raise AnnotationsInvalid(f"{source.name}: no XML file in its folder Annotations")
    problems: list[Problem] = []
    objects = _Objects()
    items = [
        item for file in files if (item := _image(source, file, objects, problems)) is not None
    ]
    names = sorted({label for item in items for label in item.labels})
    return Imported(
        tuple(names),
        tuple(items),
        tuple(problems),
        doubt=objects.doubt(sum(one.loses == "labels" for one in problems)),
    )


@dataclass(slots=True)
class _Objects:
    """All objects of a folder, as they stand there: four numbers each, and the image's size."""

    corners: list[list[float]] = field(default_factory=list)
    sizes_wh: list[tuple[int, int]] = field(default_factory=list)

    def doubt(self, refused: int) -> str:
        """Why no box is what it seems, ``refused`` of them certainly not; "" if all is well."""
        raw, sizes = doubt.as_boxes(self.corners, self.sizes_wh)
        if doubt.normalised(raw, raw[:, 2:] - raw[:, :2]):
            return "its coordinates look normalised (0..1): give pixels"
        if doubt.misread(raw, xywh_to_xyxy(raw), sizes, ROUNDING):
            return "its boxes look like x, y, width, height: VOC wants xmin, ymin, xmax, ymax"
        return doubt.most(refused, len(self.corners))


def _image(
    source: Path, file: Path, objects: _Objects, problems: list[Problem]
) -> ImportedImage | None:
    try:
        root = _parse(file)
        name = root.findtext("filename") or file.stem
        size = (_number(root, "size/width"), _number(root, "size/height"))
    except OSError as error:
        problems.append(Problem(file.name, f"left out: cannot be read ({error.strerror})", "image"))
        return None
    except (ElementTree.ParseError, ValueError, ArithmeticError, LookupError) as error:
        why = f"left out: not a VOC annotation ({error})"
        problems.append(Problem(file.name, why, "image"))
        return None
    path = _find(source, name, file.stem)
    if path is None:
        problems.append(Problem(file.name, f"left out: no image {Path(name).name!r}", "image"))
        return None
    labels = Labels(file.name, size, problems)
    for position, entry in enumerate(root.iter("object")):
        label = (entry.findtext("name") or "").strip()
        place = f"object {position}"
        try:
            box = [float(entry.findtext(f"bndbox/{side}") or "nan") for side in _SIDES]
        except ValueError:
            box = [float("nan")] * 4
        objects.corners.append(box)
        objects.sizes_wh.append(size)
        if not label:
            labels.refuse(place, "it has no name")
            continue
        x1, y1, x2, y2 = box
        labels.add((x1 - 1, y1 - 1, x2, y2), label, entry.findtext("difficult") == "1", place)
    return labels.image(path)


_SIDES = ("xmin", "ymin", "xmax", "ymax")


def _parse(file: Path) -> ElementTree.Element:
    """The XML tree; entities could expand without bound, so a document type is refused."""
    data = file.read_bytes()
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data)} bytes is too large")
    if b"\0" in data:  # UTF-16 would hide a document type from the next line
        raise ValueError("its encoding is not UTF-8")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ValueError("a document type is not allowed")
    return ElementTree.fromstring(data)


def _number(root: ElementTree.Element, path: str) -> int:
    return max(0, int(float(root.findtext(path) or 0)))


def _find(source: Path, name: str, stem: str) -> Path | None:
    tree = Tree.below(source)
    for candidate in (name, *(f"{stem}{suffix}" for suffix in IMAGE_SUFFIXES)):
        if path := tree.find(candidate, ("JPEGImages", "images", "")):
            return path
    return None
