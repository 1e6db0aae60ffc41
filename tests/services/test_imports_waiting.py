"""An import beside other writers: files first, rows at once, told image by image."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.engine import make_url

from services.context import Context
from services.db.data import LabelUse
from services.db.tables import Annotation, Image, Role
from services.intake.imports import import_dataset
from tests import bad_images
from tests.services.datasets_on_disk import pictures, write_coco


def _write_at_once(context: Context) -> None:
    """Write as another process would, but without any patience."""
    file = make_url(str(context.engine.url)).database
    assert file is not None
    other = sqlite3.connect(file, timeout=0, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("ROLLBACK")
    other.close()


def _images(context: Context) -> int:
    with context.sessions() as session:
        return session.scalar(select(func.count()).select_from(Image)) or 0


@pytest.mark.parametrize("role", [Role.SEED, Role.POOL, Role.FIELD])
def test_others_write_while_images_are_read_and_stored(
    sqlite_context: Context, tmp_path: Path, role: Role
) -> None:
    told: list[tuple[int, int]] = []

    def after_an_image(done: int, total: int) -> None:
        told.append((done, total))
        _write_at_once(sqlite_context)

    source = write_coco(tmp_path / "data", pictures(1, 2, 3))
    report = import_dataset(sqlite_context, source, role, progress=after_an_image)

    assert told == [(1, 3), (2, 3), (3, 3)]
    assert report.images_added == _images(sqlite_context) == 3


def test_an_image_that_cannot_be_used_counts_as_done(
    sqlite_context: Context, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    some = {"bad.png": bad_images.not_an_image(), **pictures(1)}

    import_dataset(
        sqlite_context,
        write_coco(tmp_path / "data", some),
        Role.SEED,
        progress=lambda *numbers: told.append(numbers),
    )

    assert told == [(1, 2), (2, 2)]


def _files(context: Context) -> list[Path]:
    return [path for path in context.project.images.rglob("*") if path.is_file()]


def test_an_import_that_breaks_off_in_a_batch_leaves_nothing_of_it(
    sqlite_context: Context, tmp_path: Path
) -> None:
    def break_off(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    source = write_coco(tmp_path / "data", pictures(1, 2, 3))
    with pytest.raises(KeyboardInterrupt):
        import_dataset(sqlite_context, source, Role.SEED, progress=break_off)
    assert (_files(sqlite_context), _images(sqlite_context)) == ([], 0)

    report = import_dataset(sqlite_context, source, Role.SEED)

    assert (report.images_added, report.problems) == (3, [])
    assert len(_files(sqlite_context)) == 3


def test_files_whose_rows_were_never_written_are_taken_up_by_the_next_import(
    sqlite_context: Context, tmp_path: Path
) -> None:
    source = write_coco(tmp_path / "data", pictures(1, 2, 3))
    import_dataset(sqlite_context, source, Role.SEED)
    files = _files(sqlite_context)
    with sqlite_context.sessions.begin() as session:  # as if it was killed between the two
        for table in (Annotation, LabelUse, Image):
            session.execute(delete(table))

    report = import_dataset(sqlite_context, source, Role.SEED)

    assert (report.images_added, report.problems) == (3, [])
    assert sorted(_files(sqlite_context)) == sorted(files)
