"""What property tests draw from: boxes, detections, truth, manifests, annotated images.

Coordinates are quarters of a pixel, which float32, JSON and text all keep exactly.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from curation.formats import ImportedImage
from curation.kernel.manifest import Manifest, ManifestItem
from curation.kernel.types import Detections, Truth

# The first call of a network library takes seconds; the same examples on every run.
settings.register_profile("e2x", deadline=None, derandomize=True)
settings.load_profile("e2x")

WIDTH, HEIGHT = 200, 100
CLASS_NAMES = ("car", "bus", "Fußgänger")
# Half surrogates cannot be encoded; the line separators tell a careless line reader.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(["\u2028a"])


@st.composite
def boxes(
    draw, width: int = WIDTH, height: int = HEIGHT, step: int = 1, least: int = 1
) -> tuple[float, float, float, float]:
    """One box within an image; ``step`` and ``least`` are quarters of a pixel."""
    x1 = step * draw(st.integers(0, (4 * width - 4) // step))
    y1 = step * draw(st.integers(0, (4 * height - 4) // step))
    x2 = step * draw(st.integers((x1 + least) // step, 4 * width // step))
    y2 = step * draw(st.integers((y1 + least) // step, 4 * height // step))
    return (x1 / 4, y1 / 4, x2 / 4, y2 / 4)


@st.composite
def box_arrays(draw, max_size: int = 6) -> np.ndarray:
    """[N, 4] float32, N from 0."""
    drawn = draw(st.lists(boxes(), max_size=max_size))
    return np.array(drawn, np.float32).reshape(-1, 4)


@st.composite
def detections(draw) -> Detections:
    """Few scores, so that ties happen."""
    found = draw(box_arrays())
    count = len(found)
    scores = draw(st.lists(st.sampled_from([0.25, 0.5, 0.75]), min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(1, 2), min_size=count, max_size=count))
    return Detections(
        found, np.array(scores, np.float32), np.array(labels, np.int64), np.arange(count)
    )


@st.composite
def truths(draw) -> Truth:
    """Objects, some of them to ignore."""
    objects = draw(box_arrays())
    count = len(objects)
    labels = draw(st.lists(st.integers(1, 2), min_size=count, max_size=count))
    ignore = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return Truth(objects, np.array(labels, np.int64), np.array(ignore, np.bool_))


@st.composite
def manifest_items(draw) -> ManifestItem:
    """One labelled image."""
    found = draw(st.lists(boxes(), max_size=3))
    count = len(found)
    identity = draw(st.binary(min_size=32, max_size=32)).hex()
    return ManifestItem(
        image=identity,
        file=f"{identity[:2]}/{identity}.png",
        width_px=WIDTH,
        height_px=HEIGHT,
        boxes_xyxy=tuple(found),
        labels=tuple(draw(st.lists(texts, min_size=count, max_size=count))),
        ignore=tuple(draw(st.lists(st.booleans(), min_size=count, max_size=count))),
        revision=draw(st.integers(1, 9)),
        group=draw(texts),
        origin=draw(st.none() | texts),
    )


@st.composite
def manifests(draw) -> Manifest:
    """A dataset version of a few images."""
    items = draw(st.lists(manifest_items(), max_size=5, unique_by=lambda item: item.image))
    names = draw(st.lists(texts, max_size=3, unique=True))
    return Manifest(("background", *names), tuple(items), draw(st.none() | texts))


@st.composite
def annotated_images(draw, min_size: int = 0, step: int = 1) -> list[ImportedImage]:
    """Labelled images with objects that anybody can see; no file lies at their paths."""
    objects = st.tuples(boxes(step=step, least=4), st.sampled_from(CLASS_NAMES), st.booleans())
    return [
        _annotated(number, draw(st.lists(objects, max_size=4, unique_by=lambda row: row[:2])))
        for number in range(draw(st.integers(min_size, 4)))
    ]


def _annotated(number: int, objects: list[tuple[tuple[float, ...], str, bool]]) -> ImportedImage:
    return ImportedImage(
        path=Path(f"{number}.png"),
        width_px=WIDTH,
        height_px=HEIGHT,
        boxes_xyxy=np.array([box for box, _, _ in objects], np.float32).reshape(-1, 4),
        labels=tuple(label for _, label, _ in objects),
        ignore=tuple(ignore for _, _, ignore in objects),
    )
