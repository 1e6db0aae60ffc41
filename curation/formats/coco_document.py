"""A COCO document as a whole: its three lists, how its ids are read, and whether to trust it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curation.boxes import ROUNDING, xywh_to_xyxy
from curation.errors import AnnotationsInvalid
from curation.formats import doubt

REFERENCES = {"categories": "category_id", "images": "image_id"}
"""Lists, and the key by which annotations refer to their entries."""


def check_document(document: Any, where: str) -> dict[str, list[Any]]:
    """The three lists of a COCO document.

    Raises:
        AnnotationsInvalid: they are not there.
    """
    if not isinstance(document, Mapping):
        raise AnnotationsInvalid(f"{where}: not a COCO file: expected an object at the top")
    for key in ("images", "categories", "annotations"):
        value = document.get(key)
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise AnnotationsInvalid(f"{where}: not a COCO file: {key!r} is not a list of objects")
    return {key: document[key] for key in ("images", "categories", "annotations")}


def read_document(file: Path) -> dict[str, list[Any]]:
    """The three lists of a COCO file.

    Raises:
        AnnotationsInvalid: it is not a COCO file.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))  # some tools write a mark
    except (ValueError, RecursionError) as error:
        raise AnnotationsInvalid(f"{file.name}: not JSON ({error})") from error
    return check_document(document, file.name)


def identity_of(value: Any) -> Any:
    """An id that can be looked up, else None; table programs write whole numbers as floats."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | str) else None


def doubt_of_ids(document: Mapping[str, list[Any]], *lists: str) -> str:
    """Why references of annotations are to the wrong images or categories; "" if they are right.

    Args:
        document: as :func:`check_document` gives it.
        lists: ``categories``, ``images``; without: both.
    """
    for name in lists or REFERENCES:
        if wrong := doubt.misnumbered(name, *_ids(document, name)):
            return wrong
    return ""


def doubt_of_boxes(document: Mapping[str, list[Any]]) -> str:
    """Why no box of a document is what it seems; "" if they are as COCO wants them."""
    sizes = {identity_of(image.get("id")): size_of(image) for image in document["images"]}
    entries = document["annotations"]
    raw, sizes_wh = doubt.as_boxes(
        [entry.get("bbox") for entry in entries],
        [sizes.get(identity_of(entry.get("image_id")), (0, 0)) for entry in entries],
    )
    if doubt.normalised(raw, raw[:, 2:]):
        return "its coordinates look normalised (0..1): give pixels"
    if doubt.misread(xywh_to_xyxy(raw), raw, sizes_wh, ROUNDING):
        return "its boxes look like [x1, y1, x2, y2]: COCO wants [x, y, width, height]"
    return ""


def doubt_of_most(document: Mapping[str, list[Any]], refused: int) -> str:
    """Why most annotations are refused; "" where most are good.

    Args:
        document: as :func:`check_document` gives it.
        refused: annotations that cannot be used.
    """
    causes = []
    for name, key in REFERENCES.items():
        known, used = _ids(document, name)
        if doubt.mistyped(known, used):
            causes.append(f"`{key}` is text where the `id` of {name} is a number, or the reverse")
        elif len(used - known) > len(used & known):
            causes.append(f"most have a `{key}` that {name} do not list")
    return doubt.most(refused, len(document["annotations"]), "; ".join(causes))


def size_of(image: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height that an image is said to have, px; 0 where nothing sensible is said."""
    width, height = (image.get(side) for side in ("width", "height"))
    return _positive(width), _positive(height)


def _ids(document: Mapping[str, list[Any]], name: str) -> tuple[set[Any], set[Any]]:
    """Ids that a list of the document has, and those that annotations refer to."""
    known = {identity_of(entry.get("id")) for entry in document[name]}
    used = {identity_of(entry.get(REFERENCES[name])) for entry in document["annotations"]}
    return known - {None}, used - {None}


def _positive(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 < value < 1e6 else 0
