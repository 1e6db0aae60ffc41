"""Where registered models lie."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

from curation.kernel.files import temporary_beside
from services.context import Context


def keep(context: Context, model_id: str, write: Callable[[Path], object]) -> str:
    """Write a model to its lasting place, whole or not at all; twice is once.

    Args:
        context: wiring.
        model_id: 64 hex digits.
        write: given a folder that does not exist yet, makes it.

    Returns:
        The place, relative to the project.
    """
    relative = f"models/{model_id[:16]}"
    target = context.project.root / relative
    if not target.exists():
        temporary = temporary_beside(target)
        try:
            write(temporary)
            _rename(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return relative


def _rename(temporary: Path, target: Path) -> None:
    try:
        temporary.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        # Another process has written the same model meanwhile: its name is its content.
