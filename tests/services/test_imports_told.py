"""What an import tells: splits left aside, images nobody labelled, look-alikes, orientation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture
from sqlalchemy import select

from curation.kernel.errors import AnnotationsInvalid
from services.context import Context
from services.db.tables import Annotation, Image, Role
from services.errors import InvalidRequest
from services.intake.imports import ImportOptions, Loaded, agree, import_dataset, load_source, store
from services.intake.parts import Part
from tests import bad_images
from tests.services.datasets_on_disk import BUS, CAR, pictures, write_coco


def _yolo(folder: Path, names: str = "names: [car, bus]\n", **splits: int) -> Path:
    """A YOLO folder with images/SPLIT and labels/SPLIT; one object in each image."""
    number = 0
    for split, count in splits.items():
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for _ in range(count):
            number += 1
            picture = folder / "images" / split / f"{split}{number}.png"
            picture.write_bytes(bad_images.png(number))
            (folder / "labels" / split / f"{split}{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    keys = "".join(f"{split}: images/{split}\n" for split in splits)
    (folder / "data.yaml").write_text(names + keys)
    return folder


def _roles(context: Context) -> dict[str, str]:
    with context.sessions() as session:
        return {row.name: row.role for row in session.scalars(select(Image))}


@pytest.mark.parametrize(
    ("role", "options", "taken"),
    [
        (Role.SEED, ImportOptions(), {"train": 3}),
        (Role.HOLDOUT, ImportOptions(), {"test": 1}),
        (Role.POOL, ImportOptions(), {"train": 3, "val": 2, "test": 1}),
        (Role.SEED, ImportOptions(splits=("train", "valid")), {"train": 3, "val": 2}),
        (Role.SIBLINGS, ImportOptions(splits=("val",)), {"val": 2}),
    ],
)
def test_a_role_takes_the_splits_it_may_have_and_says_what_it_left(
    sqlite_context: Context,
    tmp_path: Path,
    role: Role,
    options: ImportOptions,
    taken: dict[str, int],
) -> None:
    source = _yolo(tmp_path / "set", train=3, val=2, test=1)

    report = import_dataset(sqlite_context, source, role, options)

    names = [re.sub(r"[0-9]+\.png$", "", name) for name in _roles(sqlite_context)]
    assert {split: names.count(split) for split in taken} == taken
    assert len(names) == sum(taken.values())
    told = " ".join(report.notes)
    left = {"train", "val", "test"} - set(taken)
    assert all(f"images of split {split}" in told for split in left)
    assert report.problems == []


def test_a_pool_is_every_picture_annotated_or_not(sqlite_context: Context, tmp_path: Path) -> None:
    source = write_coco(tmp_path / "pool", pictures(1, 2))
    document = json.loads((source / "annotations.json").read_text())
    document["images"][0]["group"] = "drive 7"
    (source / "annotations.json").write_text(json.dumps(document))
    for name, data in pictures(3, 4, 5).items():
        (source / "images" / name).write_bytes(data)

    report = import_dataset(sqlite_context, source, Role.POOL)

    assert report.images_added == 5
    with sqlite_context.sessions() as session:
        groups = {row.name: row.group for row in session.scalars(select(Image))}
    assert groups["frame_0001.png"] == "drive 7"


def test_a_pool_needs_no_annotations_that_can_be_read(
    sqlite_context: Context, tmp_path: Path
) -> None:
    source = write_coco(tmp_path / "pool", pictures(1, 2))
    (source / "annotations.json").write_text('{"images": 3}')

    report = import_dataset(sqlite_context, source, Role.POOL)

    assert (report.images_added, report.problems) == (2, [])


def test_pictures_that_lie_elsewhere_are_named(sqlite_context: Context, tmp_path: Path) -> None:
    source = write_coco(tmp_path / "words", pictures(1, 2))
    (source / "images").rename(tmp_path / "pictures")

    with pytest.raises(AnnotationsInvalid, match="that they lie in with `--images`"):
        import_dataset(sqlite_context, source, Role.SEED)
    found = import_dataset(
        sqlite_context, source, Role.SEED, ImportOptions(images=tmp_path / "pictures")
    )

    assert (found.images_added, found.problems) == (2, [])


def test_images_that_nothing_is_said_of_are_counted(
    sqlite_context: Context, tmp_path: Path
) -> None:
    source = _yolo(tmp_path / "set", train=5)
    labels = sorted((source / "labels" / "train").glob("*.txt"))
    labels[0].unlink()
    labels[1].unlink()
    labels[2].write_text("")

    report = import_dataset(sqlite_context, source, Role.SEED)

    assert (report.images_added, report.empty, report.unlabelled) == (5, 3, 2)


def test_ignore_regions_are_counted_apart(sqlite_context: Context, tmp_path: Path) -> None:
    crowd = {**BUS, "iscrowd": 1}

    report = import_dataset(
        sqlite_context, write_coco(tmp_path / "a", pictures(1, 2), [CAR, crowd]), Role.SEED
    )

    assert (report.boxes, report.ignored) == (4, 2)


def test_pictures_with_an_orientation_are_counted(sqlite_context: Context, tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(bad_images.rotated_by_exif())
    (folder / "b.png").write_bytes(bad_images.png(2))

    report = import_dataset(sqlite_context, folder, Role.POOL)

    assert "1 images carry an orientation tag" in " ".join(report.notes)


def _saved_anew(folder: Path, source: Path, objects: list[dict[str, Any]]) -> Path:
    anew = {
        f"{path.stem}.jpg": bad_images.saved(Picture.open(path).convert("RGB"), "JPEG", quality=70)
        for path in sorted((source / "images").iterdir())
    }
    return write_coco(folder, anew, objects)


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (Role.SEED, Role.HOLDOUT, True),
        (Role.SIBLINGS, Role.SEED, True),
        (Role.SEED, Role.FIELD, False),
    ],
)
def test_pictures_of_the_other_side_saved_anew_are_told(
    sqlite_context: Context, tmp_path: Path, first: Role, second: Role, told: bool
) -> None:
    source = write_coco(tmp_path / "a", pictures(1, 2, 3))
    import_dataset(sqlite_context, source, first)
    anew = _saved_anew(tmp_path / "b", source, [CAR, BUS])
    (anew / "images" / "other.jpg").write_bytes(bad_images.jpeg(77))

    report = import_dataset(sqlite_context, anew, second)

    notes = " ".join(report.notes)
    assert (f"3 pictures nearly are pictures of role {first}" in notes) is told


def test_flat_pictures_are_no_look_alikes(sqlite_context: Context, tmp_path: Path) -> None:
    for name, grey, role in (("a", 10, Role.SEED), ("b", 200, Role.HOLDOUT)):
        flat = Picture.fromarray(np.full((48, 64, 3), grey, np.uint8))
        source = write_coco(tmp_path / name, {"x.png": bad_images.saved(flat, "PNG")})
        report = import_dataset(sqlite_context, source, role)

    assert "nearly are" not in " ".join(report.notes)


def test_classes_of_a_seed_that_look_alike_are_told(
    sqlite_context: Context, tmp_path: Path
) -> None:
    source = write_coco(tmp_path / "a", pictures(1))
    file = source / "annotations.json"
    file.write_text(file.read_text().replace('"name": "bus"', '"name": "Car"'))

    report = import_dataset(sqlite_context, source, Role.SEED)

    assert "classes that look alike stay apart: 'Car', 'car'" in " ".join(report.notes)


def _objects(context: Context) -> list[list[str]]:
    with context.sessions() as session:
        rows = session.scalars(select(Annotation).order_by(Annotation.id)).all()
        return [[entry["label"] for entry in row.objects] for row in rows]


def _import(context: Context, sources: list[Path]) -> list[Loaded]:
    loaded = [load_source(context, one, Role.SEED, ImportOptions()) for one in sources]
    agree(loaded, Role.SEED)
    for one in loaded:
        store(context, one, Role.SEED, ImportOptions())
    return loaded


def test_sources_with_a_class_each_are_one_truth(sqlite_context: Context, tmp_path: Path) -> None:
    cars = write_coco(tmp_path / "cars", pictures(1, 2), [CAR])
    buses = write_coco(tmp_path / "buses", pictures(2, 3), [BUS])

    loaded = _import(sqlite_context, [cars, buses])

    assert sorted(_objects(sqlite_context)) == [["bus"], ["car"], ["car", "bus"]]
    assert "1 entries are parts of others" in " ".join(loaded[1].report.notes)
    assert [one.report.images_known for one in loaded] == [0, 1]
    assert all(one.report.complete for one in loaded)


def test_sources_that_contradict_each_other_are_both_left_out(
    sqlite_context: Context, tmp_path: Path
) -> None:
    first = write_coco(tmp_path / "v1", pictures(1, 2), [CAR, BUS])
    second = write_coco(tmp_path / "v2", pictures(2, 3), [{**CAR, "bbox": [3, 3, 10, 8]}, BUS])

    loaded = _import(sqlite_context, [first, second])

    assert sorted(_roles(sqlite_context)) == ["frame_0001.png", "frame_0003.png"]
    problems = [[problem.where for problem in one.report.problems] for one in loaded]
    assert problems == [["frame_0002.png"], ["frame_0002.png"]]


def test_a_role_that_needs_labels_says_where_they_may_be(
    sqlite_context: Context, tmp_path: Path
) -> None:
    source = _yolo(tmp_path / "set", train=1, test=1)

    with pytest.raises(InvalidRequest, match="--split test"):
        import_dataset(sqlite_context, source / "images" / "test", Role.HOLDOUT)


def test_blocks_of_frames_follow_their_numbers(sqlite_context: Context, tmp_path: Path) -> None:
    names = {f"f_{number}.png": bad_images.png(number) for number in range(1, 25)}
    source = write_coco(tmp_path / "drive", names)

    for number, role in ((1, Role.SEED), (2, Role.HOLDOUT)):
        options = ImportOptions(part=Part(number, 2, block=6))
        import_dataset(sqlite_context, source, role, options)

    roles = {int(name[2:-4]): role for name, role in _roles(sqlite_context).items()}
    changes = sum(roles[number] != roles[number + 1] for number in range(1, 24))
    assert changes == 3
