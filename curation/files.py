"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file, sync it, then rename it to ``path``.

    Args:
        path: what is there afterwards; its folder is made where it is missing.
        write: is handed an empty file beside it.

    Raises:
        OSError: such as no space; then ``path`` is as it was and nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically."""
    write_atomically(path, lambda file: _fill(file, data))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON atomically, indented for people."""
    write_bytes(path, (json.dumps(values, indent=1) + "\n").encode())


def _fill(file: Path, data: bytes) -> None:
    file.write_bytes(data)


def _sync_folder(folder: Path) -> None:
    """The rename itself reaches the disk with its folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
