"""A COCO document as a whole: its three lists, how its ids are read, and whether to trust it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from curation.formats import doubt
from curation.formats.coco_annotations import is_no_box
from curation.formats.numbers import number
from curation.formats.outlines import box_of_segmentation
from curation.formats.text_files import decode_json, read_bytes
from curation.kernel.boxes import ROUNDING, xywh_to_xyxy
from curation.kernel.errors import AnnotationsInvalid

REFERENCES = {"categories": "category_id", "images": "image_id"}
"""Lists, and the key by which annotations refer to their entries."""
MAX_BYTES = 4 * 2**30
"""Of one file; the largest of COCO's own has 0.5 GB."""
FEWEST_CLASSES = 2
"""References to a class that only another count makes right, in a large file: tools write 0 for
what has no class. A picture that is not listed is no such slip."""
_OTHERS = (
    ("shapes", "a file of LabelMe: convert it to COCO"),
    ("samples", "a data set of FiftyOne: export it as COCODetectionDataset"),
    ("_via_img_metadata", "a project of the VGG Image Annotator: export it as COCO"),
    ("features", "GeoJSON"),
)


class Twice(dict[str, Any]):
    """An object with a key that appears twice; ``key`` says which."""

    key = ""


def check_document(document: Any, where: str) -> dict[str, list[Any]]:
    """The three lists of a COCO document.

    Raises:
        AnnotationsInvalid: they are not there.
    """
    if isinstance(document, list):
        raise AnnotationsInvalid(
            f"{where}: not a COCO file: expected an object at the top, this is {_list(document)}"
        )
    if not isinstance(document, Mapping):
        raise AnnotationsInvalid(f"{where}: not a COCO file: expected an object at the top")
    if isinstance(document, Twice):
        raise AnnotationsInvalid(
            f"{where}: {document.key!r} appears twice at the top, as where two files were joined: "
            "make one list of both"
        )
    for key in ("images", "categories", "annotations"):
        value = document.get(key)
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            other = next((what for mark, what in _OTHERS if mark in document), "")
            raise AnnotationsInvalid(
                f"{where}: not a COCO file: {key!r} is not a list of objects"
                + (f"; this is {other}" if other else "")
            )
    return {key: document[key] for key in ("images", "categories", "annotations")}


def _list(entries: list[Any]) -> str:
    """What a list of objects is likely to be."""
    first = entries[0] if entries and isinstance(entries[0], Mapping) else {}
    if "score" in first and "bbox" in first:
        return "a list of detection results, which are no labels"
    if "data" in first:
        return "Label Studio's own JSON: export the project as COCO"
    return "a list"


def read_document(file: Path) -> dict[str, list[Any]]:
    """The three lists of a COCO file.

    Raises:
        AnnotationsInvalid: it is not a COCO file.
    """
    text = decode_json(read_bytes(file, MAX_BYTES), file.name)
    try:
        document = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        why = "it ends in the middle: copy it again" if _is_cut(error, text) else str(error)
        raise AnnotationsInvalid(f"{file.name}: not JSON ({why})") from error
    return check_document(document, file.name)


def _is_cut(error: Exception, text: str) -> bool:
    """Whether a text is JSON that stops somewhere."""
    if not isinstance(error, json.JSONDecodeError) or not text.strip():
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= len(text.rstrip())


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    twice = Twice(found)
    counts = Counter(key for key, _ in pairs)
    twice.key = next(key for key, count in counts.items() if count > 1)
    return twice


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
        fewest = FEWEST_CLASSES if name == "categories" else 1
        known, used = ids(document, name)
        if wrong := doubt.misnumbered(name, known, used.elements(), fewest):
            return wrong
    return ""


def doubt_of_boxes(
    document: Mapping[str, list[Any]], sizes_wh: Mapping[Any, tuple[int, int]] | None = None
) -> str:
    """Why no box of a document is what it seems; "" if they are as COCO wants them.

    Args:
        document: as :func:`check_document` gives it.
        sizes_wh: of the images by id, where they are known better than the document says.
    """
    sizes = {identity_of(image.get("id")): size_of(image) for image in document["images"]}
    sizes.update(sizes_wh or {})
    entries = document["annotations"]
    raw, sizes_of_raw = doubt.as_boxes(
        [entry.get("bbox") for entry in entries],
        [sizes.get(identity_of(entry.get("image_id")), (0, 0)) for entry in entries],
    )
    around = [box for entry in entries if (box := _outline(entry)) is not None]
    outlines = np.array(around, np.float32).reshape(-1, 4)
    values = np.concatenate([raw, outlines])
    sides = np.concatenate([raw[:, 2:], outlines[:, 2:] - outlines[:, :2]])
    if doubt.normalised(values, sides):
        return "its coordinates look normalised (0..1): give pixels"
    if doubt.misread(xywh_to_xyxy(raw), raw, sizes_of_raw, ROUNDING):
        return "its boxes look like [x1, y1, x2, y2]: COCO wants [x, y, width, height]"
    return ""


def _outline(entry: Mapping[str, Any]) -> list[float] | None:
    """The box around a polygon where there is no other box; masks are in px whatever happens."""
    polygons = entry.get("segmentation")
    if not isinstance(polygons, list) or not is_no_box(entry.get("bbox")):
        return None
    try:
        return box_of_segmentation(polygons, (0, 0))
    except AnnotationsInvalid:
        return None


def doubt_of_most(document: Mapping[str, list[Any]], refused: int, first: str = "") -> str:
    """Why most annotations are refused; "" where most are good.

    Args:
        document: as :func:`check_document` gives it.
        refused: annotations that cannot be used.
        first: what is wrong with the first of them.
    """
    causes = []
    for name, key in REFERENCES.items():
        known, used = ids(document, name)
        if doubt.mistyped(known, used):
            causes.append(f"`{key}` is text where the `id` of {name} is a number, or the reverse")
        elif len(used.keys() - known) > len(used.keys() & known):
            causes.append(f"most have a `{key}` that {name} do not list")
    return doubt.most(refused, len(document["annotations"]), "; ".join(causes) or first)


def size_of(image: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height that an image is said to have, px; 0 where nothing sensible is said."""
    width, height = (image.get(side) for side in ("width", "height"))
    return _positive(width), _positive(height)


def ids(document: Mapping[str, list[Any]], name: str) -> tuple[set[Any], Counter[Any]]:
    """Ids that a list of the document has, and how often annotations refer to which."""
    known = {identity_of(entry.get("id")) for entry in document[name]}
    used = Counter(identity_of(entry.get(REFERENCES[name])) for entry in document["annotations"])
    del used[None]
    return known - {None}, used


def _positive(value: Any) -> int:
    said = number(value)
    return int(said) if said is not None and 0 < said < 1e6 else 0
