"""Files of embedded batches: what of the pool's vectors lies beside the index.

A batch is written with all of its vectors. Once the region index holds those of the regions, the
file keeps the whole-image vectors alone: stored twice, regions are most of what a project weighs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.store.storage import write_npz

Arrays = Mapping[str, npt.NDArray[Any]]
IN_INDEX = ("vectors", "boxes")
"""Arrays that the index holds too."""


def has_regions(arrays: Arrays) -> bool:
    """Whether a batch still holds the vectors of its regions."""
    return "vectors" in arrays


def drop_regions(path: Path, arrays: Arrays) -> None:
    """Write a batch without what the index holds; only once it is there for good.

    Args:
        path: the file.
        arrays: what is in it.

    Raises:
        DiskFull: there is no space; the file is as it was.
    """
    kept = {name: array for name, array in arrays.items() if name not in IN_INDEX}
    if "wholes" in kept:  # older files hold twice the digits that are looked at
        kept["wholes"] = kept["wholes"].astype(np.float16)
    write_npz(path, **kept)
