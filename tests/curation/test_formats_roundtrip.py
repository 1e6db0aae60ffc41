"""There and back through the formats and the manifest: every box, label and flag is the same."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from hypothesis import given

from curation import formats
from curation.formats import Imported, ImportedImage, coco
from curation.kernel.manifest import Manifest, ManifestItem
from tests import bad_images, strategies


@given(strategies.annotated_images())
def test_coco_to_manifest_to_coco_is_identity(items: list[ImportedImage]) -> None:
    document = coco.dump(items, strategies.CLASS_NAMES)
    with tempfile.TemporaryDirectory() as name:
        manifest = _stored(_through_coco(document, Path(name)), Path(name))

    assert coco.dump(_of_manifest(manifest), manifest.class_names[1:]) == document


@given(strategies.annotated_images(min_size=1, step=4))
def test_voc_to_manifest_to_coco_to_manifest_is_identity(items: list[ImportedImage]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_voc(items, folder / "voc")
        first = _stored(formats.load(folder / "voc"), folder)
        document = coco.dump(_of_manifest(first), first.class_names[1:])
        second = _stored(_through_coco(document, folder / "coco"), folder)

    assert first.version == second.version
    assert [_content(item) for item in _of_manifest(first)] == [_content(item) for item in items]


def _through_coco(document: object, folder: Path) -> Imported:
    folder.mkdir(exist_ok=True)
    (folder / "annotations.json").write_text(json.dumps(document))
    for image in document["images"]:
        (folder / image["file_name"]).write_bytes(bad_images.png())
    return formats.load(folder)


def _write_voc(items: list[ImportedImage], folder: Path) -> None:
    (folder / "Annotations").mkdir(parents=True)
    (folder / "JPEGImages").mkdir()
    for item in items:
        (folder / "JPEGImages" / item.path.name).write_bytes(bad_images.png())
        tree = ElementTree.ElementTree(_voc(item))
        tree.write(folder / "Annotations" / f"{item.path.stem}.xml", encoding="utf-8")


def _voc(item: ImportedImage) -> ElementTree.Element:
    """VOC counts pixels from 1 and includes the last."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = item.path.name
    size = ElementTree.SubElement(root, "size")
    ElementTree.SubElement(size, "width").text = str(item.width_px)
    ElementTree.SubElement(size, "height").text = str(item.height_px)
    for box, label, ignore in zip(item.boxes_xyxy, item.labels, item.ignore, strict=True):
        entry = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(entry, "name").text = label
        ElementTree.SubElement(entry, "difficult").text = str(int(ignore))
        corners = ElementTree.SubElement(entry, "bndbox")
        values = (float(box[0]) + 1, float(box[1]) + 1, float(box[2]), float(box[3]))
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), values, strict=True):
            ElementTree.SubElement(corners, side).text = str(value)
    return root


def _stored(read: Imported, folder: Path) -> Manifest:
    """What was read as a dataset version that has been a file."""
    assert read.problems == ()
    items = tuple(
        ManifestItem(
            image=item.path.stem.rjust(64, "0"),
            file=item.path.name,
            width_px=item.width_px,
            height_px=item.height_px,
            boxes_xyxy=tuple((b[0], b[1], b[2], b[3]) for b in item.boxes_xyxy.tolist()),
            labels=item.labels,
            ignore=item.ignore,
        )
        for item in read.items
    )
    return Manifest.read(Manifest(("background", *read.class_names), items).write(folder))


def _of_manifest(manifest: Manifest) -> list[ImportedImage]:
    return [
        ImportedImage(
            path=Path(item.file),
            width_px=item.width_px,
            height_px=item.height_px,
            boxes_xyxy=np.array(item.boxes_xyxy, np.float32).reshape(-1, 4),
            labels=item.labels,
            ignore=item.ignore,
        )
        for item in sorted(manifest.items, key=lambda item: item.file)
    ]


def _content(item: ImportedImage) -> tuple[object, ...]:
    return (item.path.name, item.boxes_xyxy.tolist(), item.labels, item.ignore)
