"""What to say where a folder inside a data set is named: looking above it is not believing."""

from __future__ import annotations

import os
from pathlib import Path

from curation.formats.splits import split_in

_MARKS = frozenset(
    (
        *("labels", "annotations", "_annotations.coco.json", "annotations.json", "instances.json"),
        *("data.yaml", "data.yml", "dataset.yaml", "obj.data", "obj.names", "classes.txt"),
    )
)
"""Names, in lower case, of what a data set has beside its pictures or above them."""
_LEVELS = 3
"""Folders that are looked at: ``set/images/train/night`` has its labels' folder three above it."""


def hint_above(source: Path) -> str:
    """That a folder seems to be a part of a data set, and how to name it; "" if it does not.

    Nothing above the folder is read or believed: a person is told where to look.
    """
    here = source.absolute()
    for above in here.parents[:_LEVELS]:
        mark = _mark_in(above, here)
        if not mark:
            continue
        parts = here.relative_to(above).parts
        split = next((name for part in reversed(parts) if (name := split_in(part))), "")
        choice = f", with `--split {split}`" if split else ""
        return f"{mark!r} lies above it, in {above.name!r}: name that folder instead{choice}"
    return ""


def _mark_in(folder: Path, source: Path) -> str:
    """The name of something in a folder that tells a data set; "" where there is none."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return ""
    own = source.relative_to(folder).parts[0]
    return next((name for name in names if name.lower() in _MARKS and name != own), "")
