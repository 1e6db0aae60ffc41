"""Importing what is there already is a success that says so; importing nothing is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests import bad_images
from tests.services.commands import CommandLine
from tests.services.datasets_on_disk import pictures, write_coco
from tests.services.label_queue import answered
from tests.services.test_labels_cli import asked as asked

pytestmark = pytest.mark.whole

ROLES = ("seed", "holdout", "siblings", "field", "pool")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two labelled pictures."""
    return write_coco(tmp_path / "set", pictures(1, 2))


@pytest.mark.parametrize("role", ROLES)
def test_the_same_source_again_adds_nothing_and_ends_well(
    line: CommandLine, source: Path, role: str
) -> None:
    assert "2 images added, 0 already there" in line.done("import", source, "--role", role).out
    again = line.done("import", source, "--role", role).out
    assert "0 images added, 2 already there" in again
    assert "0 problems" in again


def test_links_to_pictures_that_are_there_are_the_same_pictures(
    line: CommandLine, source: Path, tmp_path: Path
) -> None:
    linked = tmp_path / "snapshot"
    (linked / "images").mkdir(parents=True)
    (linked / "annotations.json").symlink_to(source / "annotations.json")
    for picture in (source / "images").iterdir():
        (linked / "images" / picture.name).symlink_to(picture)
    line.done("import", source, "--role", "seed")
    assert "0 images added, 2 already there" in line.done("import", linked, "--role", "seed").out


def test_a_pool_of_pictures_that_are_all_labelled_already_lacks_nothing(
    line: CommandLine, source: Path
) -> None:
    line.done("import", source, "--role", "seed")
    told = line.done("import", source / "images", "--role", "pool")
    assert "0 images added, 2 already there (2 of them in another role)" in told.out
    assert "is in role seed already: it stays there" in told.out
    report = line.done("import", source, "--role", "pool", "--json").json[str(source)]
    assert (report["images_known"], report["images_elsewhere"]) == (0, 2)


@pytest.mark.parametrize("more", [(), (3,)])
def test_pictures_that_judge_are_not_taught_from_and_that_is_an_error(
    line: CommandLine, source: Path, tmp_path: Path, more: tuple[int, ...]
) -> None:
    line.done("import", source, "--role", "holdout")
    both = write_coco(tmp_path / "both", pictures(1, 2, *more))
    ran = line.run("import", both, "--role", "seed")
    assert ran.code == 1
    assert f"{len(more)} images added, 2 already there (2 of them in another role)" in ran.out
    assert ran.out.count("an evaluation image must not be trained on") == 2


def test_nothing_to_import_is_an_error_also_beside_a_good_source(
    line: CommandLine, source: Path, tmp_path: Path
) -> None:
    nothing = write_coco(tmp_path / "nothing", {})
    for sources in ((source, nothing), (source, nothing), (nothing,)):
        ran = line.run("import", *sources, "--role", "seed")
        assert ran.code == 1
        assert "nothing to import: it has no image" in ran.out
    assert line.run("import", source, "--role", "seed", "--part", "2/2").code == 1
    (tmp_path / "empty").mkdir()
    said = line.refused("import", source / "images", tmp_path / "empty", "--role", "pool")
    assert "no image and no annotation file in this folder" in said


def test_pictures_that_cannot_be_read_are_an_error(line: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    (folder / "a.png").write_bytes(bad_images.png()[:60])
    assert line.run("import", folder, "--role", "pool").code == 1


def test_frames_that_are_there_are_told(
    champion: CommandLine, source: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(source / "images", tmp_path / "frames")
    report = ("--missed", "car:2,3,12,11")
    assert "2 frames taken in, 0 refused" in champion.done("ingest", folder, *report).out
    (folder / "new.png").write_bytes(bad_images.png(9))
    again = champion.done("ingest", folder, *report).out
    assert "3 frames taken in (2 of them already there), 0 refused" in again
    frames = champion.done("ingest", folder, *report, "--json").json["frames"]
    assert [one["known"] for one in frames] == [True] * 3
    (tmp_path / "empty").mkdir()
    assert "no images there" in champion.refused("ingest", tmp_path / "empty", *report)


def test_answers_that_are_there_are_told(asked: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "tasks"
    asked.done("labels", "export", "--out", out)
    file = out / "annotations.json"
    document = answered(json.loads(file.read_text()))
    file.write_text(json.dumps(document))
    assert "2 tasks answered with 2 boxes" in asked.done("labels", "import", out).out
    assert "0 tasks answered; 2 were answered so before" in asked.done("labels", "import", out).out
    file.write_text(json.dumps({**document, "images": [], "annotations": []}))
    ran = asked.run("labels", "import", out)
    assert ran.code == 1
    assert "nothing to import: the file has no image" in ran.out
