"""A COCO document from images with labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from curation.formats.base import ImportedImage
from curation.kernel.boxes import xyxy_to_xywh


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
