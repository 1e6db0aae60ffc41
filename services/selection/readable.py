"""Which images can be opened: a file may be lost or damaged after it was taken in."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from curation.kernel.errors import CurationError
from services.context import Context
from services.db.engine import reading
from services.db.tables import Image
from services.store.storage import open_image

logger = logging.getLogger(__name__)


def unreadable(context: Context, image_ids: Iterable[str]) -> set[str]:
    """Those of some images that cannot be opened; the log says why."""
    lost = set()
    for image_id in image_ids:
        with reading(context.sessions) as session:
            row = session.get_one(Image, image_id)
        try:
            open_image(context, row)
        except (CurationError, OSError) as error:
            logger.error("image %s is not asked for: %s", image_id, error)
            lost.add(image_id)
    return lost
