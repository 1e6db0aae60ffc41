"""What strangers send, made fit to store: objects with boxes, flags, sizes, and texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curation.boxes import require_valid_boxes
from curation.errors import InvalidBoxes
from services.box_doubts import as_numbers, hint_on, require_visible
from services.errors import InvalidRequest
from services.plain import plain_text as plain_text  # what is stored goes through both


def clean_objects(
    entries: Sequence[dict[str, Any]],
    size_wh: tuple[int, int],
    names: Sequence[str],
    where: str,
) -> list[dict[str, Any]]:
    """Entries with boxes cut at the border, known classes and an ``ignore`` flag.

    Args:
        entries: ``[{"box": [x1, y1, x2, y2], "label": name, "ignore": bool}]``; what else an
            entry says is kept.
        size_wh: of the image, px.
        names: the project's classes, without background.
        where: what to call the place in messages.

    Raises:
        InvalidBoxes: a box is inverted, empty or outside the image, or smaller than a pixel and no
            ignore region; or all look like shares of the image.
        InvalidRequest: a class is unknown, a box is not four numbers, or a flag is neither true
            nor false.
    """
    for entry in entries:
        if entry.get("label") not in names:
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
        {**entry, "box": [round(float(v), 2) for v in box], "ignore": ignore}
        for entry, box, ignore in zip(entries, clean, ignored, strict=True)
    ]


def with_small_ignored(
    objects: Sequence[dict[str, Any]], min_side_px: float
) -> list[dict[str, Any]]:
    """The same, with boxes that have a side below ``min_side_px`` as ignore regions."""
    return [
        {**entry, "ignore": entry["ignore"] or min(x2 - x1, y2 - y1) < min_side_px}
        for entry in objects
        for x1, y1, x2, y2 in [entry["box"]]
    ]


def flag(value: object, where: str) -> bool:
    """Yes or no as it is meant: ``"0"`` and ``"false"`` are no, nothing said is no.

    Raises:
        InvalidRequest: it is neither.
    """
    said = value.strip().lower() if isinstance(value, str) else value
    if said is None or said in (False, "0", "false", ""):  # 0 and 0.0 are False
        return False
    if said in (True, "1", "true"):
        return True
    raise InvalidRequest(f"{where}: {value!r} is neither true nor false")


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
