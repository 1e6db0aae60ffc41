"""A project's files go to another store: all of them, as they are, or the project stays."""

from __future__ import annotations

import secrets
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common.buckets import Seaweed
from benchmarks.common.projects import make_context
from curation.kernel.types import Detections
from services.context import Context
from services.errors import Conflict, InvalidRequest
from services.selection import pool_scores
from services.store import embeddings, storage
from services.store.objects import Objects, StoreUnavailable, walk
from services.store.project_store import store_of
from services.store.region_index import open_index
from services.upkeep import move_store
from tests import bad_images
from tests.services.builders import make_image

COUNT = 5
ENCODER = "e" * 64


def nobody(_what: str, _done: int, _total: int) -> None:
    pass


class CutOff:
    """A real store that goes away after some objects, as one does whose network is cut."""

    def __init__(self, objects: Objects, after: int) -> None:
        self._objects, self.left = objects, after

    def __getattr__(self, name: str) -> object:
        return getattr(self._objects, name)

    def put(self, key: str, data: bytes) -> str:
        self.left -= 1
        if self.left < 0:
            raise StoreUnavailable("cut off")
        return self._objects.put(key, data)


@pytest.fixture
def filled(tmp_path: Path, sqlite_url: str, seaweed: Seaweed) -> Context:
    """A project in its folder, with endpoint and credentials of a bucket."""
    place = seaweed.settings()
    context = make_context(tmp_path / "project", sqlite_url, storage=place | {"url": ""})
    for seed in range(COUNT):
        storage.put_image(context, bad_images.png(seed))
    store_of(context).put("manifests/a.jsonl", b"a manifest")
    (context.project.images / "a note of mine.txt").write_text("no object")
    return context


def keys(objects: Objects) -> list[str]:
    return sorted(entry.key for entry in walk(objects))


def test_all_goes_there_and_back_and_the_settings_say_where(filled: Context) -> None:
    context = filled
    folder, bucket = (move_store.store_at(context, url) for url in ("project", "s3://e2x/moved-1"))

    moved = move_store.move(context, folder, bucket, nobody)
    move_store.switch(context, "s3://e2x/moved-1")

    assert (moved.objects, moved.copied, moved.wrong) == (COUNT + 1, COUNT + 1, [])
    assert len(keys(bucket)) == COUNT + 1
    text = (context.project.root / "e2x.toml").read_text()
    assert tomllib.loads(text) == {"storage": {"url": "s3://e2x/moved-1"}}
    assert bucket.get("manifests/a.jsonl")[0] == b"a manifest"
    for path in context.project.images.glob("??/*"):
        path.unlink()
    move_store.move(context, bucket, folder, nobody)
    assert len(list(context.project.images.glob("??/*"))) == COUNT


def test_a_move_that_was_cut_off_goes_on(filled: Context) -> None:
    context = filled
    folder, bucket = (move_store.store_at(context, url) for url in ("project", "s3://e2x/moved-2"))
    with pytest.raises(StoreUnavailable):
        move_store.move(context, folder, CutOff(bucket, 3), nobody)  # type: ignore[arg-type]

    again = move_store.move(context, folder, bucket, nobody)
    more = storage.put_image(context, bad_images.png(50))
    last = move_store.move(context, folder, bucket, nobody)

    assert again.objects == COUNT + 1
    assert (last.objects, last.copied) == (COUNT + 2, 1)
    assert f"images/{more.file}" in keys(bucket)
    with pytest.raises(Conflict, match="was begun: end it, or delete"):
        move_store.move(context, folder, move_store.store_at(context, "s3://e2x/other"), nobody)


def test_a_damaged_image_is_told_and_left(filled: Context) -> None:
    context = filled
    victim = storage.put_image(context, bad_images.png(0))
    (context.project.images / victim.file).write_bytes(b"damaged")
    folder, bucket = (move_store.store_at(context, url) for url in ("project", "s3://e2x/moved-3"))

    moved = move_store.move(context, folder, bucket, nobody)

    assert moved.objects == COUNT
    assert moved.wrong == [
        f"images/{victim.file} does not hold what it is named by: it is not copied"
    ]
    assert make_image(1, id=victim.id, file=victim.file).file not in "".join(keys(bucket))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", {}),
        ("seed = 3\n", {"seed": 3}),
        ('[storage]\nurl = "file:///old"\nregion = "x"\n[api]\nport = 1\n', {"api": {"port": 1}}),
        ('[storage] # ours\nregion = "x"\n', None),
    ],
)
def test_the_file_of_settings_keeps_what_else_it_says(
    filled: Context, text: str, kept: dict[str, object] | None
) -> None:
    file = filled.project.root / "e2x.toml"
    file.write_text(text)
    if kept is None:
        with pytest.raises(InvalidRequest, match=r'write url = "s3://e2x/p" under \[storage\]'):
            move_store.switch(filled, "s3://e2x/p")
        assert file.read_text() == text
        return
    move_store.switch(filled, "s3://e2x/p")
    found = tomllib.loads(file.read_text())
    assert found.pop("storage")["url"] == "s3://e2x/p"
    assert found == kept


def test_only_a_store_can_be_named(filled: Context) -> None:
    with pytest.raises(InvalidRequest, match="name s3://bucket/prefix, file:///folder or project"):
        move_store.store_at(filled, "/some/folder")


def test_indexes_embeddings_and_scores_go_there_and_back(filled: Context, tmp_path: Path) -> None:
    seen = Detections(
        np.ones((2, 4), np.float32),
        np.ones(2, np.float32),
        np.ones(2, np.int64),
        np.ones(2, np.int64),
    )
    embeddings.write(filled, "e/batch.npz", [np.ones((2, 4))], [np.ones((2, 4))], np.ones((1, 3)))
    pool_scores.keep(filled, pool_scores.folder_of_cycle(1), "00000", {"image": seen})
    (filled.project.runs / "train-first").mkdir()
    (filled.project.runs / "train-first/resume.pt").write_bytes(b"of this machine")
    index = open_index(filled, ENCODER, 4)
    index.add(["image"], [np.ones((2, 4), np.float32)], [np.ones((2, 4), np.float32)])
    bucket = filled.settings.storage.model_copy(
        update={"url": f"s3://e2x/moved-{secrets.token_hex(4)}"}
    )
    here = store_of(filled).objects
    there = move_store.store_at(filled, bucket.url)
    for _ in range(2):  # a second run finds all of it
        assert move_store.move(filled, here, there, nobody).wrong == []
    assert "runs/train-first/resume.pt" not in keys(there)
    moved = make_context(tmp_path / "two", str(filled.engine.url), storage=bucket.model_dump())
    assert open_index(moved, ENCODER, 4).images() == ("image",)
    assert list(pool_scores.read_pool_scores(moved, 1)) == ["image"]
    regions = embeddings.regions_of(moved, "e/batch.npz")
    assert regions is not None
    more = open_index(moved, ENCODER, 4)
    more.add(["later"], [np.ones((2, 4), np.float32)], [np.ones((2, 4), np.float32)])
    moved.engine.dispose()

    (filled.project.state / move_store.JOURNAL).unlink()
    assert move_store.move(filled, there, here, nobody).wrong == []
    assert open_index(filled, ENCODER, 4).images() == ("image", "later")
    damaged = next(key for key in keys(there) if key.endswith(".part"))
    there.put(damaged, b"x" * 100)
    shutil.rmtree(filled.project.index)
    (filled.project.state / move_store.JOURNAL).unlink()
    (wrong,) = move_store.move(filled, there, here, nobody).wrong
    assert wrong.startswith(f"index/{ENCODER[:16]} is not moved: ")
