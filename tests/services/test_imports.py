"""Importing folders: once, one role an image, revisions, and bad entries that cost nothing else."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from benchmarks.common.projects import make_context
from curation.formats import ImportedImage
from services.context import Context
from services.db.tables import Annotation, Image, Observation, Role, Unit
from services.errors import InvalidRequest, NotFound
from services.intake.imports import ImportOptions, Part, import_dataset
from services.models.classes import class_names
from services.store.storage import DiskFull
from tests import bad_images
from tests.services.builders import add_champion
from tests.services.datasets_on_disk import BUS, CAR, pictures, write_coco
from tests.services.test_storage import small_disk  # noqa: F401


def _count(context: Context, table: type) -> int:
    with context.sessions() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_images_labels_and_classes_come_in(context: Context, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    source = write_coco(tmp_path / "seed", pictures(1, 2))

    report = import_dataset(context, source, Role.SEED, progress=lambda *n: told.append(n))

    assert (report.images_added, report.images_known, report.boxes) == (2, 0, 4)
    assert report.problems == []
    assert told == [(1, 2), (2, 2)]
    with context.sessions() as session:
        assert class_names(session) == ("background", "bus", "car")
        stored = session.scalars(select(Annotation)).all()
        assert {one.revision for one in stored} == {1}
        assert stored[0].objects[0] == {"box": [2, 3, 12, 11], "label": "car", "ignore": False}


def test_importing_again_adds_nothing(context: Context, tmp_path: Path) -> None:
    source = write_coco(tmp_path / "seed", pictures(1, 2))
    import_dataset(context, source, Role.SEED)

    again = import_dataset(context, source, Role.SEED)

    assert (again.images_added, again.images_known) == (0, 2)
    assert _count(context, Annotation) == 2


def test_changed_labels_are_a_new_revision_and_the_old_one_stays(
    context: Context, tmp_path: Path
) -> None:
    import_dataset(context, write_coco(tmp_path / "a", pictures(1, 2)), Role.SEED)

    import_dataset(context, write_coco(tmp_path / "b", pictures(2), [BUS]), Role.SEED)

    with context.sessions() as session:
        rows = session.scalars(select(Annotation).order_by(Annotation.id)).all()
        assert [row.revision for row in rows] == [1, 1, 2]
        assert [len(row.objects) for row in rows] == [2, 2, 1]


@pytest.mark.parametrize("trained", [Role.SEED, Role.POOL, Role.FIELD])
@pytest.mark.parametrize("evaluated", [Role.HOLDOUT, Role.SIBLINGS])
@pytest.mark.parametrize("evaluation_first", [True, False])
def test_an_evaluation_image_is_never_anything_else(
    sqlite_context: Context, tmp_path: Path, trained: Role, evaluated: Role, evaluation_first: bool
) -> None:
    context = sqlite_context
    first, second = (evaluated, trained) if evaluation_first else (trained, evaluated)
    import_dataset(context, write_coco(tmp_path / "a", pictures(1, 2)), first)

    report = import_dataset(context, write_coco(tmp_path / "b", pictures(2, 3), [BUS]), second)

    assert report.images_added == 1
    assert [one.where for one in report.problems] == ["frame_0002.png"]
    assert "must not be trained on" in report.problems[0].message
    with context.sessions() as session:
        roles = Counter(session.scalars(select(Image.role)))
        assert roles == {first: 2, second: 1}


def test_labels_of_the_pool_are_not_stored(context: Context, tmp_path: Path) -> None:
    source = write_coco(tmp_path / "pool", pictures(1, 2, 3))

    report = import_dataset(context, source, Role.POOL)
    import_dataset(context, source, Role.POOL)

    assert (report.images_added, report.boxes) == (3, 0)
    assert _count(context, Annotation) == 0
    with context.sessions() as session:
        (unit,) = session.scalars(select(Unit)).all()
        assert (unit.kind, len(unit.payload["images"])) == ("embed", 3)


def test_field_frames_are_looked_at_once_and_again_when_their_truth_changes(
    context: Context, tmp_path: Path
) -> None:
    with context.sessions.begin() as session:
        add_champion(session)
    for _ in range(2):
        import_dataset(context, write_coco(tmp_path / "field", pictures(1, 2)), Role.FIELD)

    assert (_count(context, Observation), _count(context, Unit)) == (2, 2)
    import_dataset(context, write_coco(tmp_path / "field", pictures(1, 2), [CAR]), Role.FIELD)
    assert (_count(context, Observation), _count(context, Unit)) == (2, 4)


def test_bad_images_cost_their_neighbours_nothing(context: Context, tmp_path: Path) -> None:
    bad = {f"{name}.jpg": build() for name, build in bad_images.BAD.items()}
    source = write_coco(tmp_path / "seed", {"a.png": bad_images.png(1), **bad, **pictures(2)})

    report = import_dataset(context, source, Role.SEED)

    assert report.images_added == 2
    assert {one.where for one in report.problems} == set(bad)
    assert all(one.message.startswith("left out: ") for one in report.problems)
    assert _count(context, Annotation) == 2


def test_hostile_file_names_are_only_names(context: Context, tmp_path: Path) -> None:
    names = ["\x1b[31mred.png", "a\nb.png", "'; DROP TABLE images;--.png", "\udcff.png", "ü" * 100]
    folder = tmp_path / "pool"
    folder.mkdir()
    for number, name in enumerate(names):
        (folder / f"{name.removesuffix('.png')}.png").write_bytes(bad_images.png(number))

    report = import_dataset(context, folder, Role.POOL)

    assert (report.images_added, report.problems) == (len(names), [])
    with context.sessions() as session:
        for image in session.scalars(select(Image)):
            assert "\x1b" not in image.name
            assert (context.project.images / image.file).is_file()


def test_boxes_annotated_on_another_size_are_not_trusted(context: Context, tmp_path: Path) -> None:
    odd = {"turned.jpg": bad_images.rotated_by_exif(), "scaled.png": bad_images.png(1, 128, 96)}
    source = write_coco(tmp_path / "seed", {**pictures(2), **odd})

    report = import_dataset(context, source, Role.SEED)

    assert report.images_added == 1
    told = {one.where: one.message for one in report.problems}
    assert "it is 48x64 but annotated as 64x48" in told["turned.jpg"]
    assert "it is 128x96 but annotated as 64x48" in told["scaled.png"]


def test_boxes_are_held_against_the_picture_where_the_file_names_no_size(
    context: Context, tmp_path: Path
) -> None:
    outside = {"bbox": [60, 3, 30, 8], "category_id": 1}
    source = write_coco(tmp_path / "seed", pictures(1), [CAR, outside, BUS])
    file = source / "annotations.json"
    file.write_text(file.read_text().replace('"width": 64, "height": 48', '"license": 0'))

    report = import_dataset(context, source, Role.SEED)

    assert (report.images_added, report.images_left_out, report.boxes) == (0, 1, 0)
    (problem,) = report.problems
    assert problem.where == "frame_0001.png"
    assert "annotation 2: " in problem.message
    assert "leaves the 64x48" in problem.message


def test_one_picture_under_two_names_has_one_truth(context: Context, tmp_path: Path) -> None:
    source = write_coco(tmp_path / "seed", {"a.png": bad_images.png(1), "b.png": bad_images.png(1)})

    report = import_dataset(context, source, Role.SEED)

    assert (report.images_added, report.problems) == (1, [])
    assert "1 entries say again what another entry says" in " ".join(report.notes)
    assert _count(context, Annotation) == 1


def test_a_missing_folder_and_missing_labels_are_errors(
    sqlite_context: Context, tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        import_dataset(sqlite_context, tmp_path / "gone", Role.SEED)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "a.png").write_bytes(bad_images.png())
    with pytest.raises(InvalidRequest, match="role holdout needs them"):
        import_dataset(sqlite_context, tmp_path / "plain", Role.HOLDOUT)


def test_an_import_onto_a_full_disk_stores_no_row_without_a_file(
    small_disk: Path,  # noqa: F811
    sqlite_url: str,
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    noise = bad_images.saved(
        bad_images.Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)), "BMP"
    )
    many = {f"{number:02}.png": noise + bytes([number]) for number in range(40)}
    context = make_context(small_disk / "project", sqlite_url)

    with pytest.raises(DiskFull):
        import_dataset(context, write_coco(tmp_path / "seed", many), Role.SEED)

    assert _count(context, Image) == _count(context, Annotation) == 0
    partial = [path for path in small_disk.rglob(".*") if path.is_file()]
    assert partial == []
    context.engine.dispose()


def _items(count: int) -> list[ImportedImage]:
    nothing = np.zeros((0, 4), np.float32)
    return [
        ImportedImage(Path(f"{number:04}.png"), 0, 0, nothing, (), ()) for number in range(count)
    ]


def test_parts_are_blocks_disjoint_and_together_everything() -> None:
    items = _items(103)
    parts = [Part(number, 3, block=10).of(items[::-1]) for number in (1, 2, 3)]

    names = [[item.path.name for item in part] for part in parts]
    assert sorted(itertools.chain(*names)) == [item.path.name for item in items]
    assert names[0][:11] == [f"{number:04}.png" for number in (*range(10), 30)]


@pytest.mark.parametrize(("number", "count", "block"), [(0, 3, 1), (4, 3, 1), (1, 1, 0)])
def test_a_part_that_cannot_be_is_refused(number: int, count: int, block: int) -> None:
    with pytest.raises(InvalidRequest, match="expected 1/N to N/N"):
        Part(number, count, block)


def test_a_part_of_a_folder_is_imported(sqlite_context: Context, tmp_path: Path) -> None:
    source = write_coco(tmp_path / "seed", pictures(*range(6)))

    first = import_dataset(
        sqlite_context, source, Role.SEED, ImportOptions(part=Part(1, 2, block=2))
    )
    second = import_dataset(
        sqlite_context, source, Role.HOLDOUT, ImportOptions(part=Part(2, 2, block=2))
    )

    assert (first.images_added, second.images_added) == (4, 2)
    assert second.problems == []
