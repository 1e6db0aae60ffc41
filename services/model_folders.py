"""Where registered models lie."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

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
        temporary = target.with_name(f".{target.name}.new")
        shutil.rmtree(temporary, ignore_errors=True)
        write(temporary)
        temporary.rename(target)
    return relative
