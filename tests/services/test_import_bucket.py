"""Data sets in a user's own bucket: brought in whole, or left there and referred to."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from benchmarks.common.buckets import Seaweed
from curation.kernel.errors import ImageUnreadable
from services.api.app import create_app
from services.config.setting_groups import StorageSettings
from services.context import Context
from services.db.engine import reading
from services.db.tables import Annotation, Image
from services.intake import bucket_source
from services.intake.bucket_source import JOURNAL, mirrored, url_in
from services.store import storage
from services.store.objects import Objects, StoreUnavailable
from services.store.project_store import bucket_at, store_of
from services.upkeep.invariants.files import images
from tests import bad_images
from tests.services.commands import CommandLine
from tests.services.datasets_on_disk import pictures, write_coco


@pytest.fixture
def own(seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """A user's bucket with three labelled pictures, and the settings that reach it."""
    place = seaweed.settings()
    for name in ("endpoint", "access_key", "secret_key"):
        monkeypatch.setenv(f"E2X_STORAGE__{name.upper()}", place[name])
    monkeypatch.setenv("E2X_STORAGE__PATIENCE_S", "10")
    objects = bucket_at(StorageSettings(**place), tmp_path, place["url"])
    given = {**pictures(1, 2), "a name, with blanks.png": bad_images.png(3)}
    folder = write_coco(tmp_path / "given", given)
    for path in folder.rglob("*"):
        if path.is_file():
            objects.put(path.relative_to(folder).as_posix(), path)
    return objects


def rows(context: Context) -> list[Image]:
    with reading(context.sessions) as session:
        return list(session.scalars(select(Image).order_by(Image.name)))


def nobody(_done: int, _all: int) -> None:
    pass


def test_a_bucket_is_imported_like_a_folder(own: Objects, line: CommandLine) -> None:
    said = line.done("import", own.name, "--role", "seed").out
    assert f"{own.name}: 3 images added" in said
    again = line.done("import", f"{own.name}/annotations.json", "--role", "seed").out
    assert "0 images added, 3 already there" in again
    with line.opened() as context:
        assert len(list((context.project.images).rglob("*.png"))) == 3
        with reading(context.sessions) as session:
            assert len(list(session.scalars(select(Annotation)))) == 3
        left = list((context.project.root / "cache").rglob("*.png"))
        assert left == [], "the copy goes when all is in the project"
    assert "is none" in line.refused("import", "folder", "--role", "seed", "--no-copy")
    assert "nothing is there" in line.refused("import", f"{own.name}/none", "--role", "seed")


def test_pictures_stay_in_their_bucket_where_asked(own: Objects, line: CommandLine) -> None:
    line.done("import", own.name, "--role", "seed", "--no-copy")
    with line.opened() as context:
        store, found = store_of(context), rows(context)
        assert [path for path in context.project.images.rglob("*") if path.is_file()] == []
        for row, seed in zip(found, (3, 1, 2), strict=True):  # by name
            assert storage.image_bytes(context, row) == bad_images.png(seed)
        with store.local_images([row.file for row in found], "train-first") as local:
            assert all((local / row.file).read_bytes()[:4] == b"\x89PNG" for row in found)
        assert list(images(context, None, lambda *_: None)) == []
        client = TestClient(create_app(context))
        token = (context.project.state / "api-token").read_text().strip()
        answer = client.get(
            f"/v1/images/{found[0].id}/file", headers={"Authorization": f"Bearer {token}"}
        )
        assert (answer.status_code, answer.content) == (200, bad_images.png(3))


def test_a_picture_that_its_owner_changed_or_lost_is_told_and_costs_only_itself(
    own: Objects, line: CommandLine
) -> None:
    line.done("import", own.name, "--role", "seed", "--no-copy")
    own.put("images/frame_0001.png", bad_images.png(9))
    own.delete("images/frame_0002.png")
    with line.opened() as context:
        blank, changed, lost = rows(context)
        with pytest.raises(ImageUnreadable, match=r"s3://.*frame_0001\.png,? does not hold"):
            storage.image_bytes(context, changed)
        with pytest.raises(FileNotFoundError, match=r"frame_0002\.png"):
            storage.image_bytes(context, lost)
        assert storage.image_bytes(context, blank) == bad_images.png(3)
        with store_of(context).local_images([one.file for one in (blank, changed, lost)]) as local:
            assert [(local / one.file).exists() for one in (blank, changed, lost)] == [
                True,
                False,
                False,
            ]
        told = list(images(context, None, lambda *_: None))
        assert len(told) == 2
    # The advice holds: imported again with the pictures, it is whole.
    own.put("images/frame_0001.png", bad_images.png(1))
    own.put("images/frame_0002.png", bad_images.png(2))
    line.done("import", own.name, "--role", "seed")
    with line.opened() as context:
        assert list(images(context, None, lambda *_: None)) == []


def test_what_broke_off_goes_on_and_fetches_only_what_is_new(
    own: Objects, bucket_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    class Counted:
        """The real bucket, which goes away after some objects."""

        left = 2

        def __getattr__(self, name: str) -> object:
            return getattr(own, name)

        def fetch(self, key: str, path: Path) -> object:
            if Counted.left == 0:
                raise StoreUnavailable("cut off")
            Counted.left -= 1
            fetched.append(key)
            return own.fetch(key, path)

    monkeypatch.setattr(bucket_source, "bucket_at", lambda *_: Counted())
    monkeypatch.setattr(bucket_source, "BATCH", 1)
    with pytest.raises(StoreUnavailable), mirrored(bucket_context, own.name, nobody):
        pass
    Counted.left = 100
    (journal,) = (bucket_context.project.root / "cache").rglob(JOURNAL)
    with journal.open("a") as file:
        file.write('["cut of')  # by a kill
    own.put("images/frame_0002.png", bad_images.png(7))
    seen: list[tuple[int, int]] = []
    with mirrored(bucket_context, own.name, lambda *at: seen.append(at)) as mirror:
        assert (mirror.source / "images/frame_0002.png").read_bytes() == bad_images.png(7)
    assert seen[-1] == (4, 4)
    assert len(fetched) == len(set(fetched)) == 4
    with mirrored(bucket_context, own.name, nobody) as mirror:
        assert len(fetched) == 4
        mirror.forget()


def test_urls_are_told_from_paths() -> None:
    assert url_in(Path("s3://bucket/a/b")) == "s3://bucket/a/b"
    assert url_in("folder/s3:/x") == ""
    assert url_in(Path("images")) == ""
