"""Finished units of work: one JSON a line, arrays beside it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Key = dict[str, Any]


class Units:
    """What is done already; several processes may append to one file.

    Args:
        path: of the lines, each a key with its ``result``; arrays lie in a folder beside it.
        read_only: units that are not there are None instead of being computed.

    Attributes:
        done: every unit, its key with its ``result``.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self._path, self.read_only = path, read_only
        path.parent.mkdir(parents=True, exist_ok=True)
        self.done: list[dict[str, Any]] = []
        text = path.read_text() if path.exists() else ""
        for line in filter(None, text.splitlines()):
            try:
                self.done.append(json.loads(line))
            except json.JSONDecodeError:  # of a process that was killed while it wrote
                print(f"{path}: left out half a line, {line[:60]}...", file=sys.stderr)
        if text and not text.endswith("\n") and not read_only:
            with path.open("a") as file:
                file.write("\n")
        self._by_name = {_name(_key_of(unit)): unit["result"] for unit in self.done}

    def has(self, key: Key) -> bool:
        """Whether a unit is done."""
        return _name(key) in self._by_name

    def add(self, key: Key, result: Any) -> Any:
        """Append a result; it comes back as it will be read."""
        line = json.dumps({**key, "result": result}, default=_plain)
        with self._path.open("a") as file:
            file.write(line + "\n")
        self.done.append(json.loads(line))
        self._by_name[_name(key)] = self.done[-1]["result"]
        return self.done[-1]["result"]

    def get(self, key: Key, compute: Callable[[], Any]) -> Any:
        """The result of a unit, computed and appended if it is not there."""
        if self.has(key):
            return self._by_name[_name(key)]
        return None if self.read_only else self.add(key, compute())

    def arrays(self, key: Key, compute: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """The same for results that are large arrays."""
        folder = self._path.parent / "arrays"
        path = folder / f"{hashlib.sha256(_name(key).encode()).hexdigest()}.npz"
        if not path.exists():
            if self.read_only:
                return None
            folder.mkdir(exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}")
            with partial.open("wb") as file:
                np.savez_compressed(file, **compute())
            partial.rename(path)
        with np.load(path) as stored:
            return dict(stored)


def _key_of(unit: Key) -> Key:
    return {name: value for name, value in unit.items() if name != "result"}


def _name(key: Key) -> str:
    return json.dumps(key, sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return float(value)
