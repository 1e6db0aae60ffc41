"""Models that stay loaded in a worker process between units."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Value = TypeVar("Value")

KEEP = 4
"""Champion, challenger, encoder and explainer: a detector takes 10 to 100 MB."""


class Resident:
    """A small cache of loaded models, the least recently used leaves first.

    It lives in a worker's child process and is filled there, on first use: the parent of a pool
    never loads a network.
    """

    def __init__(self, keep: int = KEEP) -> None:
        self._keep = keep
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, loader: Callable[[], Value]) -> Value:
        """The value of a key, loaded by ``loader`` if it is not resident.

        Args:
            key: must name the exact content, such as ``("detector", version, device)``.
            loader: makes the value; what it raises is passed on and nothing is kept.
        """
        if key in self._values:
            self._values.move_to_end(key)
            found: Value = self._values[key]
            return found
        while len(self._values) >= self._keep:  # before loading: two do not fit a small device
            self._values.popitem(last=False)
        value = loader()
        self._values[key] = value
        return value

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()

    def __len__(self) -> int:
        return len(self._values)
