"""A disk of a few MiB, to be filled."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system in memory on a folder; the test is skipped where that is not allowed."""
    folder.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs"]
    if os.getuid() or subprocess.run(["mount", *options, folder], check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield folder
    finally:
        # Lazily: a process that was killed may not be quite gone.
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Take all the space that is left; the file that holds it."""
    file = folder / "filler"
    with file.open("ab", buffering=0) as output:
        for block in (2**20, 4096, 1):
            try:
                while True:
                    output.write(b"\0" * block)
            except OSError:
                continue
    return file
