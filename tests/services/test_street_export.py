"""The street world as a COCO folder: what is written can be read and says the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval import COCO
from PIL import Image

from services.demo.street import (
    CLASS_NAMES,
    Scene,
    WorldConfig,
    generate,
    read_cause_masks,
    write_coco,
)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(generate(WorldConfig(field_share=1.0), "field", 12, seed=0))


@pytest.fixture(scope="module")
def folder(scenes: list[Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    written: list[int] = []
    path = write_coco(scenes, root, on_progress=written.append)
    assert path == root / "annotations.json"
    assert written == list(range(1, 13))
    return root


def test_coco_loads_and_agrees_with_the_scenes(folder: Path, scenes: list[Scene]) -> None:
    coco = COCO(str(folder / "annotations.json"))
    assert [entry["name"] for entry in coco.loadCats(coco.getCatIds())] == list(CLASS_NAMES[1:])
    for number, scene in enumerate(scenes, start=1):
        entry = coco.loadImgs(number)[0]
        with Image.open(folder / entry["file_name"]) as image:
            assert image.size == (entry["width"], entry["height"])
        annotations = coco.loadAnns(coco.getAnnIds(number))
        assert [a["category_id"] for a in annotations] == scene.truth.labels.tolist()
        boxes = np.asarray([a["bbox"] for a in annotations], np.float32).reshape(-1, 4)
        np.testing.assert_allclose(boxes[:, :2] + boxes[:, 2:], scene.truth.boxes_xyxy[:, 2:])


def test_causes_attributes_and_lookalikes_are_written(folder: Path, scenes: list[Scene]) -> None:
    document = json.loads((folder / "annotations.json").read_text())
    assert [tuple(entry["causes"]) for entry in document["images"]] == [s.planted for s in scenes]
    causes = [cause for scene in scenes for cause in scene.causes]
    assert [entry["cause"] for entry in document["annotations"]] == causes
    assert all("colour" in entry["attributes"] for entry in document["annotations"])
    looks = [entry for image in document["images"] for entry in image["lookalikes"]]
    assert len(looks) == sum(len(scene.lookalikes) for scene in scenes) > 0


def test_masks_come_back_as_they_were(folder: Path, scenes: list[Scene]) -> None:
    masks = read_cause_masks(folder)
    for scene in scenes:
        for row, cause in enumerate(scene.causes):
            if cause:
                np.testing.assert_array_equal(masks[f"{scene.name}/{row}"], scene.cause_masks[row])
        for row, entry in enumerate(scene.lookalikes):
            np.testing.assert_array_equal(masks[f"{scene.name}/lookalike{row}"], entry.mask)
    planted = sum(bool(cause) for scene in scenes for cause in scene.causes)
    assert len(masks) == planted + sum(len(scene.lookalikes) for scene in scenes)


def test_the_same_scenes_give_the_same_bytes(tmp_path: Path, scenes: list[Scene]) -> None:
    for name in ("first", "second"):
        write_coco(scenes[:3], tmp_path / name)
    for path in sorted((tmp_path / "first").rglob("*.*")):
        if path.suffix != ".npz":  # a zip carries the time of writing
            twin = tmp_path / "second" / path.relative_to(tmp_path / "first")
            assert path.read_bytes() == twin.read_bytes()
