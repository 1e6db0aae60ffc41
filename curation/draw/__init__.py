"""Pictures for people: what an explanation says, drawn over the image."""

from curation.draw.overlays import (
    DETECTED,
    HURTS,
    SUPPORTS,
    TRUTH,
    Colour,
    boxes,
    outline,
    overlay,
    side_by_side,
    strength,
    thumbnail,
)

__all__ = [
    "DETECTED",
    "HURTS",
    "SUPPORTS",
    "TRUTH",
    "Colour",
    "boxes",
    "outline",
    "overlay",
    "side_by_side",
    "strength",
    "thumbnail",
]
