"""Write what `pyproject.toml` asks for as files for pip: PyTorch by itself, and the rest.

``python requirements.py pyproject.toml FOLDER cpu|cuda EXTRA,EXTRA`` makes ``torch.txt`` and
``rest.txt``. They are files so that a layer is built again when they change, and not whenever
another line of `pyproject.toml` does.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

TORCH = ("torch", "torchvision")
"""Large, and the part that comes from another index for machines without a GPU."""
VARIANTS = ("cpu", "cuda")
WITHOUT_GPU = {"faiss-gpu": "faiss-cpu"}
"""The same module under another name, without CUDA's libraries."""


def requirements(text: str, variant: str, extras: list[str]) -> tuple[list[str], list[str]]:
    """The requirements of PyTorch, and all others.

    Args:
        text: of `pyproject.toml`.
        variant: ``cpu`` or ``cuda``.
        extras: names of optional dependencies to add.

    Raises:
        ValueError: there is no such variant or extra.
    """
    if variant not in VARIANTS:
        raise ValueError(f"VARIANT is one of {', '.join(VARIANTS)}, not {variant!r}")
    project = tomllib.loads(text)["project"]
    optional = project["optional-dependencies"]
    if unknown := sorted(set(extras) - set(optional)):
        raise ValueError(f"no extra {', '.join(unknown)}: there are {', '.join(optional)}")
    lines = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    if variant == "cpu":
        lines = [_without_gpu(line) for line in lines]
    torch = [line for line in lines if _name(line) in TORCH]
    return torch, [line for line in lines if line not in torch]


def _without_gpu(line: str) -> str:
    name = _name(line)
    return line.replace(name, WITHOUT_GPU.get(name, name), 1)


def _name(line: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", line)
    return found.group() if found else ""


def main(pyproject: str, folder: str, variant: str, extras: str) -> None:
    """Write the two files."""
    names = [name for name in extras.split(",") if name]
    torch, rest = requirements(Path(pyproject).read_text(encoding="utf-8"), variant, names)
    for file, lines in (("torch.txt", torch), ("rest.txt", rest)):
        (Path(folder) / file).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
