"""Where the vectors of the pool's regions lie."""

from __future__ import annotations

from curation.index import RegionIndex
from services.context import Context


def open_index(context: Context, encoder_version: str, width: int) -> RegionIndex:
    """The region index of one encoder version."""
    return RegionIndex(
        context.project.index / encoder_version[:16], encoder_version, width, lock_timeout_s=60.0
    )
