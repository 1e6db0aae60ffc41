"""Hosts that share nothing but database and store: what one has made the others find."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from benchmarks.common.projects import make_context
from curation.index.depot import MANIFEST
from services.config.hosts import open_host, sees_all
from services.config.settings import Settings
from services.context import Context
from services.db.tables import CandidateRow, Embedding
from services.errors import InvalidRequest, NotFound
from services.selection import pool_scores
from services.store import embeddings
from services.store.faiss_engine import depot_of
from services.store.objects import walk
from services.store.project_store import store_of
from services.store.region_index import has_index, open_index
from services.store.superpixels import segments_of, shared_by_hosts
from services.units.resident import Resident
from services.upkeep.invariants.index import index
from services.upkeep.invariants.mend import mend
from tests.services.mode_loop import ModeLoop
from tests.toy import textured_image


def nobody(_what: str, _done: int, _all: int) -> None:
    pass


@pytest.fixture
def hosts(tmp_path: Path, sqlite_url: str) -> Iterator[tuple[Context, Context]]:
    """Two hosts of one project; the first has made a pool and failures of two causes."""
    storage = {"url": (tmp_path / "store").as_uri()}
    one, two = (
        make_context(tmp_path / name, sqlite_url, storage=storage) for name in ("one", "two")
    )
    yield one, two
    one.engine.dispose()
    two.engine.dispose()


def test_one_host_selects_from_what_another_has_embedded_and_indexed(
    hosts: tuple[Context, Context],
) -> None:
    one, two = hosts
    loop = ModeLoop(one, pool=12)
    loop.scan(range(6), {number: number % 2 for number in range(6)})
    assert not list(one.project.embeddings.rglob("*.npz"))

    loop.reopen(two)
    loop._resident = Resident()  # another host has other processes
    cycle = loop.select()
    with two.sessions() as session:
        chosen = session.scalars(
            select(CandidateRow.image_id).where(CandidateRow.cycle_id == cycle)
        ).all()
        row = session.scalars(select(Embedding).limit(1)).one()
    assert len(chosen) > 0
    assert set(chosen) <= set(open_index(two, loop.encoder, loop.width).images())
    # The regions stay in the store: of them the index can be built again.
    assert embeddings.regions_of(two, row.file) is not None
    assert list(index(two, None, nobody)) == []


def test_a_lost_index_is_built_again_from_the_vectors_in_the_store(
    hosts: tuple[Context, Context],
) -> None:
    one, two = hosts
    loop = ModeLoop(one, pool=6)
    before = open_index(one, loop.encoder, loop.width)
    images = before.images()
    vectors = before.regions_of(images[0])[0]
    for entry in walk(store_of(one).objects, "index"):
        store_of(one).objects.put(entry.key, b"damaged")
    loop.reopen(two)
    loop._resident = Resident()
    assert any("not a manifest" in found.found for found in index(two, None, nobody))

    said = list(mend(two))
    assert any("begins anew" in line for line in said)
    loop._work("index")
    for context in (one, two):
        built = open_index(context, loop.encoder, loop.width)
        assert built.images() == images
        assert np.allclose(built.regions_of(images[0])[0], vectors, atol=1e-3)
    assert list(index(one, None, nobody)) == []


def test_an_index_from_before_the_store_is_put_into_it_or_over(
    tmp_path: Path, sqlite_url: str
) -> None:
    def add(context: Context, name: str) -> None:
        alone = open_index(context, "e" * 64, 4)
        alone.add([name], [np.ones((2, 4), np.float32)], [np.ones((2, 4), np.float32)])

    storage = {"url": (tmp_path / "store").as_uri()}
    for name in ("one", "two"):
        alone = make_context(tmp_path / name, sqlite_url)
        add(alone, name)
        alone.engine.dispose()
    shared = [make_context(tmp_path / name, sqlite_url, storage=storage) for name in ("one", "two")]
    for context in shared:
        assert has_index(context, "e" * 64)
        open_index(context, "e" * 64, 4)
    for context in shared:
        assert open_index(context, "e" * 64, 4).images() == ("one", "two")
        context.engine.dispose()
    depot = depot_of(shared[0], "e" * 64)
    assert depot is not None
    assert depot.tag(MANIFEST) is not None


def test_scores_and_superpixels_of_one_host_are_found_by_the_other(
    hosts: tuple[Context, Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    from curation import superpixels
    from curation.kernel.types import Detections

    one, two = hosts
    seen = Detections(
        np.ones((2, 4), np.float32),
        np.ones(2, np.float32),
        np.ones(2, np.int64),
        np.ones(2, np.int64),
    )
    for _ in range(2):  # the same twice is one object
        pool_scores.keep(one, pool_scores.folder_of_cycle(3), "00001", {"image": seen})
    scores = pool_scores.read_pool_scores(two, 3)
    assert list(scores) == ["image"]
    assert len(list(walk(store_of(one).objects, "runs"))) == 1
    assert np.array_equal(scores["image"].boxes_xyxy, seen.boxes_xyxy)

    image = textured_image(1)
    asked = ("a" * 64, image, (32, 48), 20, "slic")
    first = segments_of(one.project.segments, *asked, shared_by_hosts(one))

    def never(*_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(superpixels, "segment", never)
    found = segments_of(two.project.segments, *asked, shared_by_hosts(two))
    assert np.array_equal(first, found)


def test_a_host_needs_nothing_but_settings(tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    with pytest.raises(NotFound, match=r"E2X_DATABASE_URL, E2X_BROKER_URL, E2X_STORAGE__URL"):
        open_host(Settings(project=folder))
    assert not folder.exists()
    place = {"url": (tmp_path / "store").as_uri()}
    settings = Settings(
        project=folder, database_url="postgresql://db/e2x", broker_url="redis://b", storage=place
    )
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(InvalidRequest, match="holds other files"):
        open_host(settings)
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]
    (folder / "thesis.tex").unlink()
    assert open_host(settings).root == folder
    assert open_host(settings).state.is_dir()
    assert sees_all(settings, folder) == ""
    without = settings.model_copy(update={"storage": type(settings.storage)()})
    assert "storage.url" in sees_all(without, folder)
