"""A folder of images without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curation.errors import AnnotationsInvalid
from curation.formats.base import Imported, ImportedImage, image_files


def read(source: Path) -> Imported:
    """Every image below a folder.

    Raises:
        AnnotationsInvalid: there is none.
    """
    files = image_files(source)
    if not files:
        raise AnnotationsInvalid(f"{source.name}: no image and no annotation file in this folder")
    nothing = np.zeros((0, 4), np.float32)
    items = tuple(
        ImportedImage(path, 0, 0, nothing, (), (), _group(path, source)) for path in files
    )
    return Imported((), items, labelled=False)


def _group(path: Path, source: Path) -> str:
    return path.parent.name if path.parent != source else ""
