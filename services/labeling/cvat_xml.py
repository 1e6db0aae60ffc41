"""``CVAT for images 1.1``: the XML that CVAT writes and reads, as the COCO document that is one.

What follows, which image is meant, rotated rectangles, outlines, images that nobody opened, is
then read as it is of any other file.

Source:
    CVAT's description of the format: ``box`` has ``xtl``, ``ytl``, ``xbr``, ``ybr`` in px and
    ``rotation`` in degrees about its centre; every frame of a task is listed, opened or not;
    ``source`` is ``manual``, or ``auto``, ``semi-auto`` or ``file`` of what a program gave.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from curation.formats.numbers import number
from curation.kernel.errors import AnnotationsInvalid

VERSION = "1.1"
SOURCE = "e2x_source"
"""Key of an object that says who drew it, in CVAT's words."""
BY_PROGRAM = ("auto", "file")
CORNERS = ("xtl", "ytl", "xbr", "ybr")
MAX_BYTES = 512 * 2**20


def is_cvat(path: Path) -> bool:
    """Whether a file is XML by its name."""
    return path.suffix.lower() == ".xml"


def read(path: Path) -> dict[str, Any]:
    """A file as a COCO document.

    Raises:
        AnnotationsInvalid: it is no XML of CVAT for images.
    """
    if path.stat().st_size > MAX_BYTES:
        raise AnnotationsInvalid(f"{path.name} is over {MAX_BYTES // 2**20} MiB: split the task")
    return document_of(path.read_bytes(), path.name)


def document_of(data: bytes, name: str = "the file") -> dict[str, Any]:
    """XML as a COCO document; what is no box and no outline is left for the reader to refuse.

    Raises:
        AnnotationsInvalid: it is no XML of CVAT for images.
    """
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:  # they can blow a file up to any size
        raise AnnotationsInvalid(f"{name} declares entities, which no CVAT writes")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise AnnotationsInvalid(f"{name} is no XML: {error}") from error
    if root.tag != "annotations" or (root.find("image") is None and root.find("meta") is None):
        raise AnnotationsInvalid(f"{name} is not `CVAT for images {VERSION}`")
    if root.find("track") is not None:
        raise AnnotationsInvalid(f"{name} is of a video: export it as `CVAT for images {VERSION}`")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    labels: dict[str, int] = {}
    for frame in root.iter("image"):
        identity = len(images) + 1  # CVAT's numbers begin anew in each task of a project
        entry: dict[str, Any] = {"id": identity, "file_name": frame.get("name", "")}
        for side in ("width", "height"):
            if (value := number(_float(frame.get(side)))) is not None:
                entry[side] = int(value)
        images.append(entry)
        for shape in frame:
            if shape.tag == "tag":
                continue  # said of the whole image
            label = labels.setdefault(shape.get("label", ""), len(labels) + 1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": identity,
                    "category_id": label,
                    SOURCE: shape.get("source", "manual"),
                    **_place(shape),
                }
            )
    categories = [{"id": value, "name": label} for label, value in labels.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _place(shape: ElementTree.Element) -> dict[str, Any]:
    if shape.tag == "box":
        corners = [_float(shape.get(key)) for key in CORNERS]
        if None in corners:
            return {"bbox": corners}
        x1, y1, x2, y2 = (float(value or 0) for value in corners)
        place: dict[str, Any] = {"bbox": [x1, y1, x2 - x1, y2 - y1]}
        if shape.get("rotation") is not None:
            place["rotation"] = _float(shape.get("rotation"))
        return place
    if shape.tag == "polygon":
        points = [
            _float(value)
            for pair in shape.get("points", "").split(";")
            for value in pair.split(",")
        ]
        return {"segmentation": [points]}
    return {"bbox": [shape.tag]}  # no box: the reader says so of this object, and of no other


def _float(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def written(document: Mapping[str, Any]) -> bytes:
    """An exported COCO document as XML, with the pre-labels as what a program gave."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = VERSION
    names = {entry["id"]: entry["name"] for entry in document["categories"]}
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    labels = ElementTree.SubElement(task, "labels")
    for name in names.values():
        ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = name
    frames: dict[Any, ElementTree.Element] = {}
    for place, image in enumerate(document["images"]):
        told = {
            "id": str(place),
            "name": image["file_name"],
            "width": str(image["width"]),
            "height": str(image["height"]),
        }
        frames[image["id"]] = ElementTree.SubElement(root, "image", told)
    for entry in document["annotations"]:
        x, y, width, height = entry["bbox"]
        corners = zip(CORNERS, (x, y, x + width, y + height), strict=True)
        told = {"label": names[entry["category_id"]], "source": "auto", "occluded": "0"}
        told |= {key: f"{value:.2f}" for key, value in corners} | {"z_order": "0"}
        ElementTree.SubElement(frames[entry["image_id"]], "box", told)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"
