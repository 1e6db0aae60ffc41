"""COCO: one JSON file with images, categories and annotations."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curation.boxes import xywh_to_xyxy, xyxy_to_xywh
from curation.errors import AnnotationsInvalid
from curation.formats.base import (
    Imported,
    ImportedImage,
    Labels,
    Problem,
    existing_file,
    wrong_class_name,
)

ANNOTATION_NAMES = ("annotations.json", "_annotations.coco.json", "instances.json", "labels.json")
IMAGE_FOLDERS = ("images", ".", "../images", "data")


def annotation_file(source: Path) -> Path | None:
    """The COCO file of a folder: by its usual names, or the only JSON file in it."""
    if source.is_file():
        return source
    for name in ANNOTATION_NAMES:
        if (source / name).is_file():
            return source / name
    found = [*source.glob("*.json"), *source.glob("annotations/*.json")]
    return found[0] if len(found) == 1 else None


def read(source: Path) -> Imported:
    """Read a COCO file, or the one of a folder; ``iscrowd`` and ``ignore`` become ignore regions.

    Raises:
        AnnotationsInvalid: it is not a COCO file.
    """
    file = annotation_file(source)
    if file is None:
        raise AnnotationsInvalid(
            f"{source.name}: no COCO file found; name the file itself, or call it annotations.json"
        )
    document = _document(file)
    problems: list[Problem] = []
    names = {
        entry["id"]: str(entry["name"])
        for entry in _distinct(document["categories"], "category", file.name, problems)
    }
    images = _distinct(document["images"], "image", file.name, problems)
    annotations = _by_image(document["annotations"], images, names, file.name, problems)
    items = [
        item
        for image in images
        if (item := _image(file, image, annotations[image["id"]], names, problems)) is not None
    ]
    usable = dict.fromkeys(name for name in names.values() if not wrong_class_name(name))
    return Imported(tuple(usable), tuple(items), tuple(problems))


def dump(items: Iterable[ImportedImage], class_names: Sequence[str]) -> dict[str, Any]:
    """A COCO document; images are named by the last part of their path.

    Args:
        items: images with labels.
        class_names: without background; their order gives the category ids from 1.
    """
    number = {name: index for index, name in enumerate(class_names, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, item in enumerate(items, 1):
        images.append(
            {
                "id": image_id,
                "file_name": item.path.name,
                "width": item.width_px,
                "height": item.height_px,
            }
        )
        boxes = xyxy_to_xywh(item.boxes_xyxy)
        for box, label, ignored in zip(boxes, item.labels, item.ignore, strict=True):
            x, y, width, height = (round(float(value), 3) for value in box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": number[label],
                    "bbox": [x, y, width, height],
                    "area": round(width * height, 3),
                    "iscrowd": int(ignored),
                }
            )
    categories = [{"id": index, "name": name} for name, index in number.items()]
    return {"images": images, "categories": categories, "annotations": annotations}


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


def _document(file: Path) -> dict[str, list[Any]]:
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))  # some tools write a mark
    except (ValueError, RecursionError) as error:
        raise AnnotationsInvalid(f"{file.name}: not JSON ({error})") from error
    return check_document(document, file.name)


def _distinct(
    entries: list[dict[str, Any]], what: str, where: str, problems: list[Problem]
) -> list[dict[str, Any]]:
    """Entries with an id that no other has; of two with one id, both are in doubt."""
    needed = "name" if what == "category" else "file_name"
    counts = Counter(_hashable(entry.get("id")) for entry in entries)
    good = []
    for position, entry in enumerate(entries):
        identity = _hashable(entry.get("id"))
        place = f"{where}, {what} {identity if identity is not None else position}"
        if identity is None or not isinstance(entry.get(needed), str | int):
            problems.append(Problem(place, f"left out: it needs `id` and `{needed}`"))
        elif counts[identity] > 1:
            problems.append(Problem(place, "left out: its id appears twice; give each its own"))
        else:
            good.append(entry)
    return good


def _by_image(
    annotations: list[dict[str, Any]],
    images: list[dict[str, Any]],
    names: Mapping[Any, str],
    where: str,
    problems: list[Problem],
) -> dict[Any, list[dict[str, Any]]]:
    known = {image["id"] for image in images}
    counts = Counter(_hashable(entry.get("id")) for entry in annotations)
    found: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for position, entry in enumerate(annotations):
        identity = _hashable(entry.get("id"))
        place = f"{where}, annotation {identity if identity is not None else position}"
        if identity is not None and counts[identity] > 1:
            problems.append(Problem(place, "left out: its id appears twice; give each its own"))
        elif _hashable(entry.get("image_id")) not in known:
            problems.append(Problem(place, f"left out: no image {entry.get('image_id')!r}"))
        elif _hashable(entry.get("category_id")) not in names:
            problems.append(
                Problem(
                    place,
                    f"left out: unknown category {entry.get('category_id')!r}; "
                    f"there are {', '.join(f'{k!r} ({v})' for k, v in names.items())}",
                )
            )
        else:
            found[entry["image_id"]].append(entry)
    return found


def _image(
    file: Path,
    image: Mapping[str, Any],
    annotations: list[dict[str, Any]],
    names: Mapping[Any, str],
    problems: list[Problem],
) -> ImportedImage | None:
    where = f"{file.name}, image {image['id']}"
    path = _find(file.parent, str(image["file_name"]))
    if path is None:
        name = Path(str(image["file_name"])).name
        problems.append(Problem(where, f"left out: no file {name!r} beside the annotations"))
        return None
    size = (_positive(image.get("width")), _positive(image.get("height")))
    labels = Labels(where, size, problems)
    for entry in annotations:
        place = f"annotation {entry.get('id')}"
        try:
            with np.errstate(over="ignore"):  # 1e39 becomes infinite, which is refused
                box = xywh_to_xyxy(np.asarray(entry.get("bbox"), np.float32).reshape(1, 4))[0]
        except (ValueError, TypeError, IndexError, OverflowError):
            problems.append(Problem(f"{where}, {place}", "left out: `bbox` is not four numbers"))
            continue
        ignored = bool(entry.get("iscrowd")) or bool(entry.get("ignore"))
        labels.add(box.tolist(), names[entry["category_id"]], ignored, place)
    return labels.image(path, _group(image, file))


def _find(folder: Path, name: str) -> Path | None:
    """The image file: beside the annotations or in the usual folders, never outside them."""
    for place in IMAGE_FOLDERS:
        path = existing_file(folder / place, name)
        if path is not None:
            return path
    return None


def _group(image: Mapping[str, Any], file: Path) -> str:
    """As the image says; else the name of the file, where that tells one set from another."""
    if "group" in image:
        return str(image["group"]) if isinstance(image["group"], str | int) else ""
    return "" if file.name in ANNOTATION_NAMES else file.stem


def _positive(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 < value < 1e6 else 0


def _hashable(value: Any) -> Any:
    """An id that can be looked up; table programs write whole numbers as floats."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | str) else None
