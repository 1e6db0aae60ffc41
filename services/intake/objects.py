"""What strangers send, made fit to store: objects with boxes, flags, sizes, and texts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from curation.formats.flags import flag
from curation.kernel.boxes import require_valid_boxes
from curation.kernel.class_names import same_class
from curation.kernel.errors import InvalidBoxes
from services.errors import InvalidRequest
from services.intake.box_doubts import as_numbers, hint_on, require_visible
from services.plain import plain_text as plain_text  # what is stored goes through both

logger = logging.getLogger(__name__)


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
            written otherwise (see ``curation.kernel.class_names``), becomes it.
        where: what to call the place in messages.
        most: entries at most, as ``ingest.max_objects`` says.

    Raises:
        InvalidBoxes: a box is inverted, empty or outside the image, or smaller than a pixel and no
            ignore region; or all look like shares of the image.
        AnnotationsInvalid: a flag is neither true nor false.
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
    boxes = as_numbers([entry.get("box") for entry in entries], where)
    try:
        clean = require_valid_boxes(boxes, *size_wh, where)
    except InvalidBoxes as error:
        raise InvalidBoxes(f"{error}{hint_on(boxes, size_wh)}") from error
    ignored = [flag(entry.get("ignore"), f"{where}: ignore") for entry in entries]
    require_visible(clean, boxes, ignored, size_wh, where)
    return [
        {**entry, "box": [round(float(v), 2) for v in box], "label": label, "ignore": ignore}
        for entry, label, box, ignore in zip(entries, labels, clean, ignored, strict=True)
    ]


def once(objects: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    """The same without repeats: of two objects in one place a detector can only find one.

    What is left out is told in the log.

    Args:
        objects: as :func:`clean_objects` gives them, or reports.
        where: what to call the place in messages.
    """
    kept: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in objects:
        kept.setdefault((*entry["box"], entry["label"], entry["ignore"], entry.get("kind")), entry)
    if len(kept) < len(objects):
        logger.warning("%s: %d repeated objects count once", where, len(objects) - len(kept))
    return list(kept.values())


def too_many(count: int, most: int) -> str:
    """Why an image with so many objects is not taken, and what to do."""
    return (
        f"{count} objects in one image, at most {most} are taken (setting ingest.max_objects): "
        "raise it, or cut the image into tiles"
    )


def with_small_ignored(
    objects: Sequence[dict[str, Any]], min_side_px: float
) -> list[dict[str, Any]]:
    """The same, with boxes that have a side below ``min_side_px`` as ignore regions."""
    return [
        {**entry, "ignore": entry["ignore"] or min(x2 - x1, y2 - y1) < min_side_px}
        for entry in objects
        for x1, y1, x2, y2 in [entry["box"]]
    ]


def require_size(said_wh: tuple[int, int] | None, found_wh: tuple[int, int], where: str) -> None:
    """Refuse words about a picture of another size: their boxes lie elsewhere in this one.

    Args:
        said_wh: the size that the sender speaks of, px; None: none is said.
        found_wh: of the picture, upright, px.
        where: what to call the place in messages.

    Raises:
        InvalidRequest: the sizes differ.
    """
    if said_wh is None or tuple(said_wh) == tuple(found_wh):
        return
    turned = tuple(reversed(said_wh)) == tuple(found_wh)
    hint = "; boxes are of the upright picture, as its EXIF orientation turns it" if turned else ""
    raise InvalidRequest(
        f"{where}: it is {found_wh[0]}x{found_wh[1]} but spoken of as {said_wh[0]}x{said_wh[1]}, "
        f"so its boxes cannot be trusted{hint}"
    )
