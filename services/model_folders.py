"""Where registered models lie."""

from __future__ import annotations

import tempfile
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
        # a folder of our own: another process may keep the same model at this moment
        with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as folder:
            made = Path(folder) / target.name
            write(made)
            try:
                made.rename(target)
            except OSError:
                if not target.is_dir():  # else the other one was faster, with the same content
                    raise
    return relative
