"""Labels that cannot be believed: no image comes in with a part of its truth, nor unsaid."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from benchmarks.common.projects import make_context
from curation.kernel.errors import AnnotationsInvalid
from services.context import Context
from services.db.tables import EVALUATION_ROLES, Annotation, Image, Role
from services.errors import InvalidRequest
from services.intake import imports
from services.intake.import_files import ImportReport
from services.intake.imports import ImportOptions, import_dataset
from services.store.storage import DiskFull
from tests import bad_images
from tests.services.commands import CommandLine
from tests.services.datasets_on_disk import BUS, CAR, pictures, write_coco
from tests.services.test_storage import small_disk  # noqa: F401

LABELLED = (Role.SEED, Role.HOLDOUT, Role.SIBLINGS, Role.FIELD)
Change = Callable[[dict[str, Any]], None]


def _changed(source: Path, change: Change) -> Path:
    file = source / "annotations.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    return source


def _count(context: Context, table: type = Image) -> int:
    with context.sessions() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def _bad_box(document: dict[str, Any]) -> None:
    document["annotations"][2]["bbox"] = [60, 3, 30, 8]


def _no_box(document: dict[str, Any]) -> None:
    document["annotations"][2]["bbox"] = [1, 2]


def _bad_class(document: dict[str, Any]) -> None:
    document["annotations"][2]["category_id"] = 9


@pytest.mark.parametrize("role", LABELLED)
@pytest.mark.parametrize("spoil", [_bad_box, _no_box, _bad_class])
def test_an_image_with_a_refused_box_is_left_out(
    sqlite_context: Context, tmp_path: Path, role: Role, spoil: Change
) -> None:
    source = _changed(write_coco(tmp_path / "data", pictures(1, 2, 3)), spoil)

    report = import_dataset(sqlite_context, source, role)

    assert (report.images_added, report.images_left_out, report.boxes) == (2, 1, 4)
    (problem,) = report.problems
    assert problem.where == "frame_0002.png"
    assert "left out: an object of it cannot be used: annotations.json, " in problem.message
    assert "annotation 3: " in problem.message
    assert not report.complete
    assert _count(sqlite_context) == _count(sqlite_context, Annotation) == 2


def test_the_mended_image_comes_in_alone(sqlite_context: Context, tmp_path: Path) -> None:
    source = _changed(write_coco(tmp_path / "data", pictures(1, 2)), _bad_box)
    import_dataset(sqlite_context, source, Role.SEED)

    again = import_dataset(sqlite_context, write_coco(tmp_path / "data", pictures(1, 2)), Role.SEED)

    assert (again.images_added, again.images_known, again.problems) == (1, 1, [])
    assert again.complete


def test_the_pool_takes_images_whatever_their_labels_are(
    sqlite_context: Context, tmp_path: Path
) -> None:
    def spoil(document: dict[str, Any]) -> None:
        for entry in document["annotations"]:
            entry["image_id"] = str(entry["image_id"])

    source = _changed(write_coco(tmp_path / "data", pictures(1, 2)), spoil)
    report = import_dataset(sqlite_context, source, Role.POOL)
    assert (report.images_added, report.problems, report.complete) == (2, [], True)


def test_boxes_that_are_merely_small_cost_no_image(sqlite_context: Context, tmp_path: Path) -> None:
    source = write_coco(tmp_path / "data", pictures(1, 2))
    report = import_dataset(sqlite_context, source, Role.SEED, ImportOptions(min_side_px=15))
    assert (report.images_added, report.boxes, report.problems) == (2, 4, [])


@pytest.mark.parametrize("role", LABELLED)
def test_a_source_that_is_wrong_as_a_whole_is_refused(
    sqlite_context: Context, tmp_path: Path, role: Role
) -> None:
    def spoil(document: dict[str, Any]) -> None:
        for entry in document["annotations"]:
            entry["category_id"] -= 1

    source = _changed(write_coco(tmp_path / "data", pictures(1, 2)), spoil)

    with pytest.raises(AnnotationsInvalid, match="from 1 and refers to them as if from 0; nothing"):
        import_dataset(sqlite_context, source, role)

    assert _count(sqlite_context) == 0
    assert [file for file in sqlite_context.project.images.rglob("*") if file.is_file()] == []


def _renamed(**names: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        for entry in document["categories"]:
            entry["name"] = names.get(entry["name"], entry["name"])

    return change


@pytest.mark.parametrize("role", [Role.FIELD, *EVALUATION_ROLES])
def test_classes_that_no_detector_knows_are_told_or_refused(
    sqlite_context: Context, tmp_path: Path, role: Role
) -> None:
    import_dataset(sqlite_context, write_coco(tmp_path / "seed", pictures(1)), Role.SEED)
    some = _changed(write_coco(tmp_path / "some", pictures(2, 3)), _renamed(bus="Bus "))
    none = _changed(write_coco(tmp_path / "none", pictures(4)), _renamed(bus="Bus", car="lorry"))

    report = import_dataset(sqlite_context, some, role)

    (note,) = report.notes
    assert "'Bus'; the seed set and the champion know 'bus', 'car'" in note
    assert "capitals and spaces count: 'Bus' is 'bus' there" in note
    assert (report.images_added, report.complete) == (2, True)
    with pytest.raises(InvalidRequest, match="knows none of its classes: 'Bus', 'lorry'; the seed"):
        import_dataset(sqlite_context, none, role)
    assert _count(sqlite_context) == 3


def test_what_has_no_boxes_or_comes_first_has_no_strange_class(
    sqlite_context: Context, tmp_path: Path
) -> None:
    first = import_dataset(
        sqlite_context, write_coco(tmp_path / "holdout", pictures(1)), Role.HOLDOUT
    )
    import_dataset(sqlite_context, write_coco(tmp_path / "seed", pictures(2), [CAR]), Role.SEED)
    empty = import_dataset(
        sqlite_context, write_coco(tmp_path / "empty", pictures(3), []), Role.HOLDOUT
    )
    more = import_dataset(
        sqlite_context, write_coco(tmp_path / "more", pictures(4), [BUS]), Role.SEED
    )
    assert first.notes == more.notes == []
    assert empty.notes == ["annotations.json has no annotation at all: its 1 images count as empty"]


def test_what_is_stored_is_known_when_the_disk_is_full(
    small_disk: Path,  # noqa: F811
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(imports, "BATCH", 2)  # the disk has no room for a whole one
    context = make_context(small_disk / "project", sqlite_url)
    folder = tmp_path / "pool"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.png").write_bytes(bad_images.png(number))
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    (folder / "9.png").write_bytes(bad_images.saved(bad_images.Image.fromarray(noise), "PNG"))
    report = ImportReport()

    with pytest.raises(DiskFull):
        import_dataset(context, folder, Role.POOL, report=report)

    assert report.images_added == _count(context) == 4
    (folder / "9.png").unlink()
    again = import_dataset(context, folder, Role.POOL)
    assert (again.images_known, again.images_added) == (4, 1)
    context.engine.dispose()


def test_the_command_line_tells_what_is_in_when_the_disk_is_full(
    line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    for number in range(70):
        (folder / f"{number:03}.png").write_bytes(bad_images.png(number))
    (line.root / "images").mkdir(exist_ok=True)
    _block(line.root / "images", folder / "069.png")

    ran = line.run("import", folder, "--role", "pool")

    assert ran.code == 1
    assert "64 images added" in ran.out
    assert "the same command takes up the rest" in ran.out
    assert ran.err.count("error: ") == 1
    _block(line.root / "images", folder / "069.png", free=True)
    assert "6 images added, 64 already there" in line.done("import", folder, "--role", "pool").out


def _block(store: Path, image: Path, free: bool = False) -> None:
    """Make the folder that an image would be stored in a file, so that it cannot be written."""
    from curation.kernel.images import content_hash

    place = store / content_hash(image.read_bytes())[:2]
    if free:
        place.unlink()
        for one in store.glob(f"{place.name}-moved"):
            one.rename(place)
        return
    if place.is_dir():
        place.rename(store / f"{place.name}-moved")
    place.write_bytes(b"")


def test_the_command_line_counts_what_was_left_out(line: CommandLine, tmp_path: Path) -> None:
    source = _changed(write_coco(tmp_path / "data", pictures(1, 2, 3)), _bad_class)

    ran = line.run("import", source, "--role", "seed")

    assert ran.code == 1
    assert "2 images added, 0 already there, 4 boxes, 1 problems, 1 images left out" in ran.out
    assert "frame_0002.png: left out: an object of it cannot be used" in ran.out
    told = line.run("import", source, "--role", "seed", "--json").json[str(source)]
    assert (told["images_left_out"], told["images_known"], told["notes"]) == (1, 2, [])


def test_an_annotation_of_no_image_is_not_forgotten(line: CommandLine, tmp_path: Path) -> None:
    def stray(document: dict[str, Any]) -> None:
        document["annotations"][0]["image_id"] = 77

    source = _changed(write_coco(tmp_path / "data", pictures(1, 2)), stray)
    ran = line.run("import", source, "--role", "seed")
    assert ran.code == 1
    assert "no image 77" in ran.out


def test_an_image_that_stays_in_its_role_is_no_failure(line: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    (folder / "a.png").write_bytes(bad_images.png(1))
    (folder / "a.jp2").write_bytes(b"x")
    done = line.done("import", folder, "--role", "pool").out
    assert "passed over: 1 .jp2" in done
    source = write_coco(tmp_path / "seed", pictures(1, 2))

    said = line.done("import", source, "--role", "seed").out

    assert "is in role pool already: it stays there; `e2x labels import --replace`" in said
