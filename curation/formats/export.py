"""Labelled images out to other tools: COCO, YOLO and Pascal VOC, file by file, as a stream.

Nothing here holds more than one image's labels: a writer goes over the samples as often as its
format asks for. What a format cannot say is left out, and :func:`cannot_say` tells it beforehand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, TypeAlias, get_args
from xml.etree import ElementTree

from curation.kernel.types import Box

Format: TypeAlias = Literal["coco", "yolo", "voc"]
FORMATS: tuple[Format, ...] = get_args(Format)
_FOLDERS: Mapping[Format, str] = {"coco": "images", "yolo": "images/train", "voc": "JPEGImages"}


@dataclass(frozen=True, slots=True)
class Labelled:
    """One object.

    Attributes:
        box_xyxy: px of the image.
        label: its class.
        ignore: whether it counts neither way.
        more: what COCO says of it beyond its own fields.
    """

    box_xyxy: Box
    label: str
    ignore: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its objects.

    Attributes:
        name: of its file, without a folder; distinct.
        width_px: of the image.
        height_px: of the image.
        objects: in it.
        more: what COCO says of it beyond its own fields.
    """

    name: str
    width_px: int
    height_px: int
    objects: Sequence[Labelled]
    more: Mapping[str, Any] = field(default_factory=dict)


def cannot_say(fmt: Format) -> str:
    """What is lost in a format; "" for nothing."""
    return {
        "coco": "",
        "yolo": "YOLO has no ignored objects: they are left out",
        "voc": "VOC counts whole pixels: boxes are rounded",
    }[fmt]


def image_path(fmt: Format, name: str) -> str:
    """Where the image of that name lies in the export."""
    return f"{_FOLDERS[fmt]}/{name}"


def texts(
    fmt: Format,
    samples: Callable[[], Iterable[Sample]],
    class_names: Sequence[str],
    info: Mapping[str, Any],
) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Every file of an export but the images: its path and its bytes, to be read in this order.

    Args:
        fmt: of the export.
        samples: gives them anew each time it is asked.
        class_names: without background; every label is one of them.
        info: about the export, for formats that have a place for it.
    """
    yield from _WRITERS[fmt](samples, class_names, info)


def _coco(
    samples: Callable[[], Iterable[Sample]], class_names: Sequence[str], info: Mapping[str, Any]
) -> Iterator[tuple[str, Iterable[bytes]]]:
    yield "annotations.json", _coco_document(samples, class_names, info)


def _coco_document(
    samples: Callable[[], Iterable[Sample]], class_names: Sequence[str], info: Mapping[str, Any]
) -> Iterator[bytes]:
    numbers = {name: index for index, name in enumerate(class_names, 1)}
    categories = [{"id": index, "name": name} for name, index in numbers.items()]
    yield f'{{"info": {_json(info)},\n"categories": {_json(categories)},\n"images": ['.encode()
    for number, sample in enumerate(samples(), 1):
        entry = {
            **sample.more,
            "id": number,
            "file_name": sample.name,
            "width": sample.width_px,
            "height": sample.height_px,
        }
        yield _entry(entry, number == 1)
    yield b'],\n"annotations": ['
    count = 0
    for number, sample in enumerate(samples(), 1):
        for one in sample.objects:
            count += 1
            x1, y1, x2, y2 = one.box_xyxy
            box = [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)]
            entry = {
                **one.more,
                "id": count,
                "image_id": number,
                "category_id": numbers[one.label],
                "bbox": box,
                "area": round(box[2] * box[3], 3),
                "iscrowd": int(one.ignore),
            }
            yield _entry(entry, count == 1)
    yield b"]}\n"


def _entry(entry: Mapping[str, Any], is_first: bool) -> bytes:
    return (("\n" if is_first else ",\n") + _json(entry)).encode()


def _yolo(
    samples: Callable[[], Iterable[Sample]], class_names: Sequence[str], info: Mapping[str, Any]
) -> Iterator[tuple[str, Iterable[bytes]]]:
    numbers = {name: index for index, name in enumerate(class_names)}
    names = "".join(f"  {index}: {_json(name)}\n" for name, index in numbers.items())
    # no val: what a model is judged on is no part of what it learns from
    yield "data.yaml", [f"path: .\ntrain: images/train\nnames:\n{names}".encode()]
    for sample in samples():
        rows = "".join(
            f"{numbers[one.label]} {_shares(one.box_xyxy, sample)}\n"
            for one in sample.objects
            if not one.ignore
        )
        stem = PurePosixPath(sample.name).stem
        yield f"labels/train/{stem}.txt", [rows.encode()]


def _shares(box: Box, sample: Sample) -> str:
    x1, y1, x2, y2 = box
    shares = (
        (x1 + x2) / 2 / sample.width_px,
        (y1 + y2) / 2 / sample.height_px,
        (x2 - x1) / sample.width_px,
        (y2 - y1) / sample.height_px,
    )
    return " ".join(f"{value:.9f}" for value in shares)


def _voc(
    samples: Callable[[], Iterable[Sample]], class_names: Sequence[str], info: Mapping[str, Any]
) -> Iterator[tuple[str, Iterable[bytes]]]:
    yield "ImageSets/Main/train.txt", (f"{_stem(one)}\n".encode() for one in samples())
    for sample in samples():
        yield f"Annotations/{_stem(sample)}.xml", [_voc_document(sample)]


def _voc_document(sample: Sample) -> bytes:
    """VOC counts pixels from 1 and includes the last."""
    root = ElementTree.Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", sample.name)
    size = ElementTree.SubElement(root, "size")
    for name, value in (("width", sample.width_px), ("height", sample.height_px), ("depth", 3)):
        _add(size, name, str(value))
    for one in sample.objects:
        entry = ElementTree.SubElement(root, "object")
        _add(entry, "name", one.label)
        _add(entry, "difficult", str(int(one.ignore)))
        corners = ElementTree.SubElement(entry, "bndbox")
        for name, side in zip(("xmin", "ymin", "xmax", "ymax"), _pixels(one, sample), strict=True):
            _add(corners, name, str(side))
    data: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return data


def _pixels(one: Labelled, sample: Sample) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = (round(value) for value in one.box_xyxy)
    left, top = min(x1, sample.width_px - 1), min(y1, sample.height_px - 1)
    return (left + 1, top + 1, max(x2, left + 1), max(y2, top + 1))


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, name).text = text


def _stem(sample: Sample) -> str:
    return PurePosixPath(sample.name).stem


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


_Writer: TypeAlias = Callable[
    [Callable[[], Iterable[Sample]], Sequence[str], Mapping[str, Any]],
    Iterator[tuple[str, Iterable[bytes]]],
]
_WRITERS: Mapping[Format, _Writer] = {"coco": _coco, "yolo": _yolo, "voc": _voc}
