"""Writes scenes as a COCO folder: images, ``annotations.json`` and ``causes.npz``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from curation.kernel.boxes import xyxy_to_xywh
from curation.kernel.types import BoolArray
from services.demo.street.config import CLASS_NAMES
from services.demo.street.scene import Scene

ANNOTATIONS = "annotations.json"
CAUSES_FILE = "causes.npz"
IMAGES = "images"
_JPEG_QUALITY = 92


def write_coco(
    scenes: Iterable[Scene], folder: Path, on_progress: Callable[[int], None] | None = None
) -> Path:
    """Write scenes as they come; memory holds one image at a time and all cause masks, packed.

    ``annotations.json`` is COCO with, per annotation, ``attributes`` and ``cause`` (null if
    plain); per image, ``causes``, ``lookalikes`` (boxes xywh px) and ``tags``. Images are JPEG
    in ``images/``. ``causes.npz`` holds the masks (see ``read_cause_masks``).

    Args:
        scenes: with different names.
        folder: made if absent; files of the same name are replaced.
        on_progress: told after each image how many are written.

    Returns:
        the path of ``annotations.json``.
    """
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    masks: dict[str, BoolArray] = {}
    for number, scene in enumerate(scenes, start=1):
        height, width = scene.image.shape[:2]
        file = f"{IMAGES}/{scene.name}.jpg"
        Image.fromarray(scene.image).save(folder / file, quality=_JPEG_QUALITY)
        images.append(
            {
                "id": number,
                "file_name": file,
                "width": width,
                "height": height,
                "causes": list(scene.planted),
                "lookalikes": _lookalikes(scene),
                "tags": scene.tags,
            }
        )
        annotations.extend(_annotations(scene, number, len(annotations) + 1))
        masks |= _masks(scene)
        if on_progress:
            on_progress(number)
    names = [{"id": label, "name": CLASS_NAMES[label]} for label in range(1, len(CLASS_NAMES))]
    document = {"images": images, "annotations": annotations, "categories": names}
    packed: dict[str, Any] = {}
    for key, mask in masks.items():
        packed[key] = np.packbits(mask, axis=1)
        packed[f"{key}/width"] = np.int64(mask.shape[1])
    np.savez_compressed(folder / CAUSES_FILE, **packed)
    return _write_json(folder / ANNOTATIONS, document)


def _write_json(path: Path, document: dict[str, Any]) -> Path:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as stream:
        json.dump(document, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    return path


def _lookalikes(scene: Scene) -> list[dict[str, Any]]:
    return [
        {
            "bbox": xyxy_to_xywh(np.asarray([entry.box_xyxy], np.float32))[0].tolist(),
            "category_id": entry.label,
            "cause": entry.cause,
        }
        for entry in scene.lookalikes
    ]


def _annotations(scene: Scene, image: int, first: int) -> list[dict[str, Any]]:
    boxes = xyxy_to_xywh(scene.truth.boxes_xyxy)
    return [
        {
            "id": first + row,
            "image_id": image,
            "category_id": int(scene.truth.labels[row]),
            "bbox": boxes[row].tolist(),
            "area": float(boxes[row, 2] * boxes[row, 3]),
            "iscrowd": 0,
            "attributes": scene.attributes[row],
            "cause": scene.causes[row],
        }
        for row in range(len(boxes))
    ]


def _masks(scene: Scene) -> dict[str, BoolArray]:
    """Only the masks that are not empty, by "<scene>/<row>" and "<scene>/lookalike<row>"."""
    found = {
        f"{scene.name}/{row}": scene.cause_masks[row]
        for row, cause in enumerate(scene.causes)
        if cause
    }
    for row, entry in enumerate(scene.lookalikes):
        found[f"{scene.name}/lookalike{row}"] = entry.mask
    return found


def read_cause_masks(folder: Path) -> dict[str, BoolArray]:
    """Cause masks [H, W] bool, by "<scene>/<row of the truth>" or "<scene>/lookalike<row>".

    Args:
        folder: that ``write_coco`` wrote.
    """
    with np.load(folder / CAUSES_FILE) as packed:
        return {
            key: np.unpackbits(packed[key], axis=1, count=int(packed[f"{key}/width"])).astype(bool)
            for key in packed.files
            if not key.endswith("/width")
        }
