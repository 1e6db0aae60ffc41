"""COCO folders of small pictures, written for imports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests import bad_images

CAR = {"bbox": [2, 3, 10, 8], "category_id": 1}
"""At [2, 3, 12, 11]."""
BUS = {"bbox": [20, 10, 30, 20], "category_id": 2}


def write_coco(
    folder: Path, pictures: Mapping[str, bytes], objects: Sequence[dict[str, Any]] = (CAR, BUS)
) -> Path:
    """A folder with ``annotations.json``; every picture has the same objects."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, data) in enumerate(pictures.items(), 1):
        (folder / "images" / name).write_bytes(data)
        sides = {"width": bad_images.WIDTH, "height": bad_images.HEIGHT}
        images.append({"id": number, "file_name": name, **sides})
        for entry in objects:
            identity = len(annotations) + 1
            annotations.append({"id": identity, "image_id": number, **entry})
    categories = [{"id": 1, "name": "car"}, {"id": 2, "name": "bus"}]
    document = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def pictures(*seeds: int) -> dict[str, bytes]:
    """Good pictures by name."""
    return {f"frame_{seed:04}.png": bad_images.png(seed) for seed in seeds}
