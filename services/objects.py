"""What strangers send, made fit to store: objects with boxes, and texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from curation.boxes import require_valid_boxes
from curation.class_names import same_class
from services.errors import InvalidRequest


def clean_objects(
    entries: Sequence[dict[str, Any]],
    size_wh: tuple[int, int],
    names: Sequence[str],
    where: str,
    most: int,
) -> list[dict[str, Any]]:
    """Entries with boxes cut at the border, known classes and an ``ignore`` flag.

    Args:
        entries: ``[{"box": [x1, y1, x2, y2], "label": name, "ignore": bool}]``; what else an
            entry says is kept.
        size_wh: of the image, px.
        names: the project's classes, without background; a label that means one of them, but is
            written otherwise (see ``curation.class_names``), becomes it.
        where: what to call the place in messages.
        most: entries at most, as ``ingest.max_objects`` says.

    Raises:
        InvalidBoxes: a box is inverted, empty or outside the image.
        InvalidRequest: there are too many, a class is unknown, or a box is not four numbers.
    """
    if len(entries) > most:
        raise InvalidRequest(f"{where}: {too_many(len(entries), most)}")
    labels = [same_class(entry.get("label"), names) for entry in entries]
    for entry, label in zip(entries, labels, strict=True):
        if label is None:
            raise InvalidRequest(
                f"{where}: unknown class {entry.get('label')!r}; this project knows "
                f"{', '.join(names) or 'none yet: import a seed set first'}"
            )
    try:
        with np.errstate(over="ignore"):  # 1e39 becomes infinite, which is refused
            boxes = np.array([entry["box"] for entry in entries], np.float32)
        boxes = boxes.reshape(len(entries), 4)
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidRequest(f"{where}: a box is not four numbers [x1, y1, x2, y2]") from error
    clean = require_valid_boxes(boxes, *size_wh, where)
    return [
        {
            **entry,
            "box": [round(float(v), 2) for v in box],
            "label": label,
            "ignore": bool(entry.get("ignore")),
        }
        for entry, label, box in zip(entries, labels, clean, strict=True)
    ]


def too_many(count: int, most: int) -> str:
    """Why an image with so many objects is not taken, and what to do."""
    return (
        f"{count} objects in one image, at most {most} are taken (setting ingest.max_objects): "
        "raise it, or cut the image into tiles"
    )


def plain_text(text: str, limit: int) -> str:
    """The last ``limit`` characters, without those that a database or a terminal chokes on.

    PostgreSQL refuses a zero byte, and no encoder takes half of a surrogate pair.
    """
    kept = (c for c in text if c.isprintable() or c in "\n\t")
    return "".join(kept)[-limit:]
