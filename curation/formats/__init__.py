"""Annotation formats in and out: COCO, Pascal VOC, YOLO, and plain folders of images.

Every reader returns the good entries and a list of problems; one bad entry costs its neighbours
nothing. Only a file that as a whole is not what it claims to be is an error.
"""

from __future__ import annotations

from pathlib import Path

from curation.errors import AnnotationsInvalid
from curation.formats import coco, plain, voc, yolo
from curation.formats.base import Imported, ImportedImage, Problem

__all__ = ["Imported", "ImportedImage", "Problem", "coco", "detect", "load", "voc", "yolo"]

_READERS = {"coco": coco.read, "voc": voc.read, "yolo": yolo.read, "images": plain.read}


def load(source: Path, fmt: str | None = None, min_side_px: float = 0.0) -> Imported:
    """Read annotations and find their images.

    Args:
        source: a folder, or a COCO file.
        fmt: ``coco``, ``voc``, ``yolo`` or ``images``; None: found out from what is there.
        min_side_px: boxes with a shorter side become ignore regions.

    Raises:
        AnnotationsInvalid: the format is unknown, or the file is not what it claims to be.
    """
    fmt = fmt or detect(source)
    if fmt not in _READERS:
        raise AnnotationsInvalid(f"no format {fmt!r}; there are {', '.join(_READERS)}")
    return _READERS[fmt](source).with_small_ignored(min_side_px)


def detect(source: Path) -> str:
    """The format of a folder or file."""
    if source.is_file() or coco.annotation_file(source) is not None:
        return "coco"
    if (source / "Annotations").is_dir():
        return "voc"
    if yolo.labels_folder(source) is not None:
        return "yolo"
    return "images"
