"""A folder of images without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curation.formats.base import Imported, ImportedImage, ReadOptions
from curation.formats.hints import hint_above
from curation.formats.tree import Tree
from curation.kernel.errors import AnnotationsInvalid


def read(source: Path, options: ReadOptions = ReadOptions()) -> Imported:
    """Every image below a folder.

    Raises:
        AnnotationsInvalid: there is none.
    """
    tree = Tree.below(source)
    files, notes = tree.images(), tree.unlooked()
    if not files:
        hint = hint_above(source)
        told = ["no image and no annotation file in this folder", *notes, *([hint] if hint else [])]
        why = "; ".join(told)
        raise AnnotationsInvalid(f"{source.resolve().name}: {why}")
    nothing = np.zeros((0, 4), np.float32)
    items = tuple(
        ImportedImage(path, 0, 0, nothing, (), (), _group(path, source), unlabelled=True)
        for path in files
    )
    return Imported((), items, labelled=False, notes=notes)


def _group(path: Path, source: Path) -> str:
    return path.parent.name if path.parent != source else ""
