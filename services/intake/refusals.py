"""The files that a watched folder refused: why, by what they were judged, and whether they changed.

Beside ``rejected/frame.png`` lies ``frame.png.txt``. Its first line is for people; the last says
the sizes and times of change that the file and its words had when they were judged. When they
differ later, as those of a copy that only paused, the file is judged again.
"""

from __future__ import annotations

import re
from pathlib import Path

from services.intake.file_names import shown
from services.intake.sidecars import sidecar_of
from services.plain import visible
from services.store.storage import write_bytes

Shape = tuple[int, ...]
"""Size in bytes and time of change in ns, of the image and of its words."""

NOTE = ".txt"
AGAIN = "When the file or its words change, here or where they lay, they are tried again."
_JUDGED = re.compile(r"^judged by: ([0-9]+(?: -?[0-9]+)*)$", re.MULTILINE)


def shape_of(image: Path) -> Shape:
    """Sizes and times of an image and of its words.

    Raises:
        FileNotFoundError: it is gone.
    """
    files = [image, sidecar_of(image)]
    found = [file.lstat() for file in files if file is not None]
    return tuple(value for stat in found for value in (stat.st_size, stat.st_mtime_ns))


def note(image: Path, reason: str, judged: Shape) -> None:
    """Say why a refused file, which lies where it was moved to, was refused."""
    numbers = " ".join(str(value) for value in judged)
    text = f"{visible(shown(reason), lines=False)}\n{AGAIN}\njudged by: {numbers}\n"
    write_bytes(_note_of(image), text.encode())
    # Who copies files in may be another user than the one whom we run as.
    _note_of(image).chmod(0o644)


def forget(image: Path) -> None:
    """Remove what was said about a file."""
    _note_of(image).unlink(missing_ok=True)


def reason_of(image: Path) -> str:
    """Why a file was refused; empty where nothing is said."""
    try:
        return _note_of(image).read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except FileNotFoundError:
        return ""


def known(folder: Path) -> dict[Path, Shape]:
    """What was refused earlier, with what it was judged by; files without that are left alone."""
    found = {}
    for file in folder.glob(f"*{NOTE}"):
        said = _JUDGED.search(file.read_text(encoding="utf-8", errors="replace"))
        if said is not None:
            numbers = tuple(int(value) for value in said.group(1).split())
            found[file.with_name(file.name.removesuffix(NOTE))] = numbers
    return found


def _note_of(image: Path) -> Path:
    return image.with_name(f"{image.name}{NOTE}")
