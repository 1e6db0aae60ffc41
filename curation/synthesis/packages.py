"""Packages that only some generators need."""

from __future__ import annotations

import importlib.metadata

from curation.kernel.errors import GeneratorUnusable


def require_packages(*names: str) -> None:
    """Refuse to draw without them.

    Raises:
        GeneratorUnusable: one is not installed; the message says how to install it.
    """
    missing = [name for name in names if not version(name)]
    if missing:
        raise GeneratorUnusable(
            f"{' and '.join(missing)} must be installed: pip install 'e2x[diffusion]'"
        )


def versions(*names: str) -> dict[str, str]:
    """Versions of installed packages by name; "" for what is not installed."""
    return {name: version(name) for name in names}


def version(name: str) -> str:
    """Of an installed package; "" for what is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
