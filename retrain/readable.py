"""What images that cannot be read cost: themselves, as long as they are few.

A file may be lost or damaged after it came in. One of them must not end a run of hours; without
many of them a model is trained, or judged, on something else than was asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from curation.kernel.errors import CurationError
from retrain.errors import ImagesUnreadable

logger = logging.getLogger(__name__)

UNREADABLE = (CurationError, OSError)
"""What reading an image may raise: damaged or outside the limits, or not to be had."""
MAX_SHARE = 0.02
"""One in fifty: single files get lost; a lost folder, or a limit that was lowered, costs more."""


def allowed(total: int) -> int:
    """How many images of so many may be unreadable: a small share, or one, never all."""
    return min(max(1, int(total * MAX_SHARE)), max(0, total - 1))


def require_few(lost: Collection[str], total: int) -> None:
    """Refuse to go on without more than a small share of the images.

    Args:
        lost: names of the images that cannot be read.
        total: images in all.

    Raises:
        ImagesUnreadable: there are too many; the message names the first.
    """
    if len(lost) > allowed(total):
        raise ImagesUnreadable(
            f"{len(lost)} of {total} images cannot be read, at most {allowed(total)} may be left "
            f"out; the first is {min(lost)}: put the files back from a backup, and see that the "
            "settings ingest.max_pixels and ingest.min_side_px allow them"
        )


def tell(lost: Collection[str], total: int, doing: str) -> None:
    """Say once which images were left out of something; nothing where none was."""
    if lost:
        named = ", ".join(sorted(lost)[:5]) + (", …" if len(lost) > 5 else "")
        logger.warning("%s without %d of %d images: %s", doing, len(lost), total, named)
