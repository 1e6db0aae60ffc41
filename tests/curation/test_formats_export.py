"""Out by every format and back by our own readers: the same images, classes, boxes and flags."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from curation import formats
from curation.formats import ImportedImage
from curation.formats.export import FORMATS, Format, Labelled, Sample, cannot_say, image_path, texts
from tests import bad_images, strategies

NAMES = [*strategies.CLASS_NAMES, 'a: "quoted" <b>&', "naïve"]


def _samples(items: Sequence[ImportedImage]) -> list[Sample]:
    return [
        Sample(
            item.path.name,
            item.width_px,
            item.height_px,
            [
                Labelled((b[0], b[1], b[2], b[3]), label, ignore)
                for b, label, ignore in zip(
                    item.boxes_xyxy.tolist(), item.labels, item.ignore, strict=True
                )
            ],
        )
        for item in items
    ]


def _write(fmt: Format, samples: list[Sample], folder: Path) -> None:
    for path, data in texts(fmt, lambda: iter(samples), NAMES, {"description": "a test"}):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"".join(data))
    for sample in samples:
        picture = folder / image_path(fmt, sample.name)
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(bad_images.png(0, sample.width_px, sample.height_px))


def _content(item: Sample, fmt: Format) -> tuple[object, ...]:
    kept = [one for one in item.objects if fmt != "yolo" or not one.ignore]
    boxes = np.round(np.array([one.box_xyxy for one in kept]).reshape(-1, 4), 2).tolist()
    return (item.name, boxes, [one.label for one in kept], [one.ignore for one in kept])


@pytest.mark.parametrize("fmt", FORMATS)
@settings(max_examples=8)
@given(items=strategies.annotated_images(min_size=1, step=4))
def test_what_goes_out_comes_back_the_same(fmt: Format, items: list[ImportedImage]) -> None:
    samples = _samples(items)
    with tempfile.TemporaryDirectory() as name:
        _write(fmt, samples, Path(name))
        assert formats.detect(Path(name)) == fmt
        read = formats.load(Path(name))
    assert read.problems == ()
    back = sorted(_samples(read.items), key=lambda one: one.name)
    assert [_content(one, fmt) for one in back] == [_content(one, fmt) for one in samples]


@pytest.mark.parametrize("fmt", FORMATS)
def test_fractions_of_pixels_and_odd_names_come_back_as_well_as_the_format_can(
    fmt: Format, tmp_path: Path
) -> None:
    box = (3.25, 4.5, 20.125, 30.75)
    whole = Sample("b.png", 64, 48, [Labelled((0, 0, 64, 48), NAMES[-2])])
    samples = [Sample("a.png", 64, 48, [Labelled(box, NAMES[-1])]), whole]
    _write(fmt, samples, tmp_path)
    read = formats.load(tmp_path)
    assert read.problems == ()
    by_name = {item.path.name: item for item in read.items}
    off = np.abs(by_name["a.png"].boxes_xyxy[0] - np.array(box)).max()
    assert off <= (0.5 if fmt == "voc" else 1e-3)
    assert ("rounded" in cannot_say(fmt)) is (fmt == "voc")
    assert by_name["a.png"].labels == (NAMES[-1],)
    assert by_name["b.png"].labels == (NAMES[-2],)
    np.testing.assert_allclose(by_name["b.png"].boxes_xyxy, [[0, 0, 64, 48]], atol=1e-3)


def test_coco_says_what_else_is_known_and_never_in_the_place_of_its_own_fields() -> None:
    more = {"e2x_kind": "missed", "id": 99, "bbox": None}
    sample = Sample("a.png", 9, 9, [Labelled((1, 2, 4, 6), NAMES[0], more=more)], {"e2x_x": 1})
    ((path, data),) = texts("coco", lambda: [sample], NAMES, {"description": "x"})
    document = json.loads(b"".join(data))
    assert path == "annotations.json"
    (one,) = document["annotations"]
    assert (one["e2x_kind"], one["id"], one["bbox"]) == ("missed", 1, [1, 2, 3, 4])
    assert document["images"][0]["e2x_x"] == 1


def test_a_writer_asks_for_one_image_at_a_time() -> None:
    asked: list[int] = []

    def many():
        for number in range(1000):
            asked.append(number)
            yield Sample(f"{number}.png", 9, 9, [Labelled((1, 2, 4, 6), NAMES[0])])

    pieces = 0
    for _, data in texts("coco", many, NAMES, {}):
        for _ in data:
            pieces += 1
            assert len(asked) <= pieces
    asked.clear()
    for files, (_, data) in enumerate(texts("yolo", many, NAMES, {}), 1):
        assert b"".join(data)
        assert len(asked) <= files
    asked.clear()
    files = texts("voc", many, NAMES, {})
    for count, _ in enumerate(next(files)[1], 1):
        assert len(asked) <= count
    asked.clear()
    for count, _ in enumerate(files, 1):
        assert len(asked) <= count
