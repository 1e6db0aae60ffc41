"""What took minutes to make is kept beside the trained models, for the next run."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from curation.kernel.files import write_bytes

_Item = TypeVar("_Item")


def kept(path: Path, make: Callable[[], Iterable[_Item]]) -> tuple[_Item, ...]:
    """The items of ``path``, a file that only this function writes; made where it is missing."""
    if not path.exists():
        write_bytes(path, pickle.dumps(tuple(make())))
    items: tuple[_Item, ...] = pickle.loads(path.read_bytes())
    return items
