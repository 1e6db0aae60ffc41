"""COCO: one JSON file with images, categories and annotations."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from curation.boxes import xywh_to_xyxy, xyxy_to_xywh
from curation.class_names import clean_class_name, wrong_class_name
from curation.errors import AnnotationsInvalid
from curation.formats.base import (
    Imported,
    ImportedImage,
    Labels,
    Problem,
    ReadOptions,
)
from curation.formats.coco_document import (
    doubt_of_boxes,
    doubt_of_ids,
    doubt_of_most,
    identity_of,
    read_document,
    size_of,
)
from curation.formats.tree import Tree

ANNOTATION_NAMES = ("annotations.json", "_annotations.coco.json", "instances.json", "labels.json")
IMAGE_FOLDERS = ("images", "", "data")


def annotation_file(source: Path) -> Path | None:
    """The COCO file of a folder: by its usual names, or the only JSON file in it."""
    if source.is_file():
        return source
    for name in ANNOTATION_NAMES:
        if (source / name).is_file():
            return source / name
    found = [*source.glob("*.json"), *source.glob("annotations/*.json")]
    return found[0] if len(found) == 1 else None


def is_there(tree: Tree) -> bool:
    """Whether a folder holds a COCO file."""
    return annotation_file(tree.root) is not None


def require_json(file: Path) -> None:
    """Refuse a file that cannot be a COCO file by what it is.

    Raises:
        AnnotationsInvalid: such as a picture or an archive; the message says what to name instead.
    """


def read(source: Path, options: ReadOptions = ReadOptions()) -> Imported:
    """Read a COCO file, or the one of a folder; ``iscrowd`` and ``ignore`` become ignore regions.

    Raises:
        AnnotationsInvalid: it is not a COCO file.
    """
    file = annotation_file(source)
    if file is None:
        raise AnnotationsInvalid(
            f"{source.name}: no COCO file found; name the file itself, or call it annotations.json"
        )
    document = read_document(file)
    problems: list[Problem] = []
    names = {
        entry["id"]: clean_class_name(str(entry["name"]))
        for entry in _distinct(document["categories"], "category", file.name, problems)
    }
    images = _distinct(document["images"], "image", file.name, problems)
    good, bad = _by_image(document["annotations"], images, names, file.name, problems)
    items = [
        item
        for image in images
        if (item := _image(file, image, good[image["id"]], bad[image["id"]], names, problems))
        is not None
    ]
    usable = dict.fromkeys(name for name in names.values() if not wrong_class_name(name))
    lost = [one for one in problems if one.loses == "labels"]
    doubts = doubt_of_ids(document), doubt_of_boxes(document), doubt_of_most(document, len(lost))
    return Imported(
        tuple(usable), tuple(items), tuple(problems), doubt=next(filter(None, doubts), "")
    )


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


def _distinct(
    entries: list[dict[str, Any]], what: str, where: str, problems: list[Problem]
) -> list[dict[str, Any]]:
    """Entries with an id that no other has; of two with one id, both are in doubt."""
    needed = "name" if what == "category" else "file_name"
    loses: Literal["image", "nothing"] = "nothing" if what == "category" else "image"
    counts = Counter(identity_of(entry.get("id")) for entry in entries)
    good = []
    for position, entry in enumerate(entries):
        identity = identity_of(entry.get("id"))
        place = f"{where}, {what} {identity if identity is not None else position}"
        if identity is None or not isinstance(entry.get(needed), str | int):
            why = f"left out: it needs `id` and `{needed}`"
            problems.append(Problem(place, why, loses))
        elif counts[identity] > 1:
            why = "left out: its id appears twice; give each its own"
            problems.append(Problem(place, why, loses))
        else:
            good.append(entry)
    return good


def _by_image(
    annotations: list[dict[str, Any]],
    images: list[dict[str, Any]],
    names: Mapping[Any, str],
    where: str,
    problems: list[Problem],
) -> tuple[dict[Any, list[dict[str, Any]]], dict[Any, list[Problem]]]:
    """Good annotations and the problems of the others, by image."""
    known = {image["id"] for image in images}
    counts = Counter(identity_of(entry.get("id")) for entry in annotations)
    good: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    bad: dict[Any, list[Problem]] = defaultdict(list)
    for position, entry in enumerate(annotations):
        identity, image = identity_of(entry.get("id")), identity_of(entry.get("image_id"))
        if image not in known:
            wrong = f"no image {entry.get('image_id')!r}"
        elif identity is not None and counts[identity] > 1:
            wrong = "its id appears twice; give each its own"
        elif identity_of(entry.get("category_id")) not in names:
            listed = ", ".join(f"{k!r} ({v})" for k, v in names.items())
            wrong = f"unknown category {entry.get('category_id')!r}; there are {listed}"
        else:
            good[image].append(entry)
            continue
        place = f"{where}, annotation {identity if identity is not None else position}"
        problems.append(Problem(place, f"left out: {wrong}"))
        bad[image].append(problems[-1])
    return good, bad


def _image(
    file: Path,
    image: Mapping[str, Any],
    annotations: list[dict[str, Any]],
    refused: list[Problem],
    names: Mapping[Any, str],
    problems: list[Problem],
) -> ImportedImage | None:
    where = f"{file.name}, image {image['id']}"
    path = _find(file.parent, str(image["file_name"]))
    if path is None:
        name = Path(str(image["file_name"])).name
        why = f"left out: no file {name!r} beside the annotations"
        problems.append(Problem(where, why, "image"))
        return None
    labels = Labels(where, size_of(image), problems, refused=refused)
    for entry in annotations:
        place = f"annotation {entry.get('id')}"
        try:
            with np.errstate(over="ignore"):  # 1e39 becomes infinite, which is refused
                box = xywh_to_xyxy(np.asarray(entry.get("bbox"), np.float32).reshape(1, 4))[0]
        except (ValueError, TypeError, IndexError, OverflowError):
            labels.refuse(place, "`bbox` is not four numbers")
            continue
        ignored = bool(entry.get("iscrowd")) or bool(entry.get("ignore"))
        labels.add(box.tolist(), names[entry["category_id"]], ignored, place)
    return labels.image(path, _group(image, file))


def _find(folder: Path, name: str) -> Path | None:
    """The image file: beside the annotations or in the usual folders, never outside them."""
    return Tree.below(folder).find(name, IMAGE_FOLDERS)


def _group(image: Mapping[str, Any], file: Path) -> str:
    """As the image says; else the name of the file, where that tells one set from another."""
    if "group" in image:
        return str(image["group"]) if isinstance(image["group"], str | int) else ""
    return "" if file.name in ANNOTATION_NAMES else file.stem
