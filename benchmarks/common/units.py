"""Finished units of work: one JSON a line, arrays beside it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Key = dict[str, Any]


class Units:
    """What is done already; several processes may append to one cache.

    Args:
        folder: of the cache.
        read_only: units that are not there are None instead of being computed.
    """

    def __init__(self, folder: Path, read_only: bool = False) -> None:
        self._folder, self.read_only = folder, read_only
        self._lines = folder / "units.jsonl"
        (folder / "arrays").mkdir(parents=True, exist_ok=True)
        self._done: dict[str, Any] = {}
        if self._lines.exists():
            for line in self._lines.read_text().splitlines():
                if line.endswith("}"):  # a killed process may leave half a line
                    unit = json.loads(line)
                    self._done[_name(unit["key"])] = unit["result"]

    def get(self, key: Key, compute: Callable[[], Any]) -> Any:
        """The result of a unit, computed and appended if it is not there."""
        name = _name(key)
        if name not in self._done:
            if self.read_only:
                return None
            self._done[name] = result = compute()
            line = json.dumps({"key": key, "result": result}, default=_plain) + "\n"
            with self._lines.open("a") as file:
                file.write(line)
            self._done[name] = json.loads(line)["result"]
        return self._done[name]

    def arrays(self, key: Key, compute: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """The same for results that are large arrays."""
        path = self._folder / "arrays" / f"{hashlib.sha256(_name(key).encode()).hexdigest()}.npz"
        if not path.exists():
            if self.read_only:
                return None
            partial = path.with_suffix(f".{os.getpid()}")
            with partial.open("wb") as file:
                np.savez_compressed(file, **compute())
            partial.rename(path)
        with np.load(path) as stored:
            return dict(stored)


def _name(key: Key) -> str:
    return json.dumps(key, sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return float(value)
