"""Annotation formats in and out: COCO, Pascal VOC, YOLO, and plain folders of images.

Every reader returns the good entries and a list of problems; one bad entry costs its neighbours
nothing. Only a file that as a whole is not what it claims to be is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from curation.formats import coco, plain, voc, yolo
from curation.formats.base import Imported, ImportedImage, Problem, ReadOptions
from curation.formats.hints import hint_above
from curation.formats.splits import SplitChoice
from curation.formats.tree import Tree
from curation.kernel.errors import AnnotationsInvalid

__all__ = [
    "Imported",
    "ImportedImage",
    "Problem",
    "ReadOptions",
    "SplitChoice",
    "coco",
    "detect",
    "formats_of",
    "hint_above",
    "load",
    "plain",
    "voc",
    "yolo",
]

_READERS: dict[str, Callable[[Path, ReadOptions], Imported]] = {
    "coco": coco.read,
    "voc": voc.read,
    "yolo": yolo.read,
    "images": plain.read,
}


def load(
    source: Path,
    fmt: str | None = None,
    min_side_px: float = 0.0,
    options: ReadOptions = ReadOptions(),
) -> Imported:
    """Read annotations and find their images.

    Args:
        source: a folder, or an annotation file.
        fmt: ``coco``, ``voc``, ``yolo`` or ``images``; None: found out from what is there.
        min_side_px: boxes with a shorter side become ignore regions.
        options: what else was said of the source.

    Raises:
        AnnotationsInvalid: the format is unknown, or the file is not what it claims to be.
    """
    found = [fmt] if fmt else formats_of(source)
    if found[0] not in _READERS:
        raise AnnotationsInvalid(f"no format {fmt!r}; there are {', '.join(_READERS)}")
    imported = _READERS[found[0]](source, options).with_small_ignored(min_side_px)
    if len(found) > 1:
        told = f"read as {found[0]}; it has {', '.join(found[1:])} files too: `--format` chooses"
        imported = replace(imported, notes=(*imported.notes, told))
    return imported


def detect(source: Path) -> str:
    """The format that a folder or file is read as, where nobody says it.

    Raises:
        AnnotationsInvalid: a file that is no annotation file.
    """
    return formats_of(source)[0]


def formats_of(source: Path) -> list[str]:
    """All formats that a folder or file has files of; ``images`` where it has none.

    Raises:
        AnnotationsInvalid: a file that is no annotation file.
    """
    if source.is_file():
        if yolo.is_description(source):
            return ["yolo"]
        coco.require_json(source)
        return ["coco"]
    tree = Tree.below(source)
    there = {"voc": voc.is_there, "coco": coco.is_there, "yolo": yolo.is_there}
    return [fmt for fmt, is_there in there.items() if is_there(tree)] or ["images"]
