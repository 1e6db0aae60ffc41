"""What the stages of the pool do with an image that is damaged, lost or beyond its encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import select

from curation.embedding.embed import RegionEmbedder
from curation.index import RegionIndex
from curation.kernel.images import encode_png
from curation.kernel.types import ImageArray
from services import units
from services.context import Context
from services.cycle import cycles
from services.db.tables import Embedding, Image, Role, Unit, UnitState
from services.selection import pool_scores
from services.selection.outlook import read_plan
from services.selection.pool_scores import read_pool_scores
from services.stages import index as index_stage
from services.store.region_index import open_index
from services.store.storage import put_image, read_npz, write_npz
from services.units.requests import request_embed
from services.units.resident import Resident
from services.worker import shell
from tests.services.builders import add_champion, add_holdout_image, make_image
from tests.tiny_ssd import tiny_ssd


class DividingEncoder:
    """An encoder that compares a picture with its brightest point: a black one has none."""

    version, width = "dividing-1", 3

    def encode(self, images: Sequence[ImageArray]) -> torch.Tensor:
        """Feature maps [B, 3, 8, 8]."""
        small = [torch.from_numpy(image[:8, :8].copy()).permute(2, 0, 1) for image in images]
        return torch.stack([one.float() / one.max() for one in small])


def pool_of(context: Context, pictures: Sequence[ImageArray]) -> list[str]:
    """Stored pool images; their ids."""
    ids = []
    with context.sessions.begin() as session:
        for picture in pictures:
            stored = put_image(context, encode_png(picture))
            values = {
                "id": stored.id,
                "file": stored.file,
                "width_px": stored.width_px,
                "height_px": stored.height_px,
            }
            session.add(make_image(0, Role.POOL, **values))
            ids.append(stored.id)
    return ids


def noise(count: int) -> list[ImageArray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(count)]


def done(context: Context, resident: Resident, kind: str) -> dict[str, Any]:
    """Do the one unit of a kind that waits as a worker does; its result."""
    with context.sessions() as session:
        waits = select(Unit.id).where(Unit.kind == kind, Unit.state == UnitState.QUEUED)
        unit_id = session.scalars(waits).one()
    assert shell.run(context, resident, unit_id, "test") == "done"
    with context.sessions() as session:
        return dict(session.get_one(Unit, unit_id).result or {})


def break_files(context: Context, torn: str | None, lost: str | None) -> None:
    """Cut one stored image short and remove another."""
    with context.sessions() as session:
        paths = {
            row.id: context.project.images / row.file for row in session.scalars(select(Image))
        }
    if torn is not None:
        paths[torn].write_bytes(paths[torn].read_bytes()[:50])
    if lost is not None:
        paths[lost].unlink()


def ask_scores(context: Context) -> int:
    """Start the cycle of a tiny detector, which asks for the scores of the pool; its number."""
    with context.sessions.begin() as session:
        model = add_champion(session)
        add_holdout_image(session)
        tiny_ssd().save(context.project.root / model.folder)
        return cycles.start(session, context, policy="random", budget_boxes=20).id


def test_a_damaged_pool_image_does_not_cost_its_neighbours_their_scores(
    sqlite_context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    context = sqlite_context
    ids = pool_of(context, noise(5))
    cycle = ask_scores(context)
    break_files(context, torn=ids[1], lost=ids[3])

    result = done(context, Resident(), "score_pool")

    assert (result["images"], result["unreadable"]) == (3, 2)
    scores = read_pool_scores(context, cycle)
    assert set(scores) == {ids[0], ids[2], ids[4]}
    for image_id in (ids[1], ids[3]):
        assert f"image {image_id} is left out" in caplog.text


def test_the_scores_are_those_of_the_image_they_stand_under(sqlite_context: Context) -> None:
    context, pictures = sqlite_context, noise(4)
    ids = pool_of(context, pictures)
    break_files(context, torn=ids[0], lost=None)
    cycle = ask_scores(context)
    done(context, Resident(), "score_pool")
    scores = read_pool_scores(context, cycle)
    for image_id, picture in zip(ids[1:], pictures[1:], strict=True):
        (alone,) = tiny_ssd().predict([picture], 0.01)
        assert len(scores[image_id]) == len(alone)
        assert scores[image_id].scores == pytest.approx(alone.scores, abs=1e-4)


def test_damaged_scores_count_as_not_looked_at(
    sqlite_context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    pool_of(sqlite_context, noise(2))
    cycle = ask_scores(sqlite_context)
    done(sqlite_context, Resident(), "score_pool")
    [file] = (sqlite_context.project.runs / f"cycle-{cycle}").glob("pool-*.npz")
    file.write_bytes(file.read_bytes()[:200])
    assert read_pool_scores(sqlite_context, cycle) == {}
    assert f"{file.name}: damaged" in caplog.text


def test_a_batch_of_which_nothing_can_be_read_is_no_failure(sqlite_context: Context) -> None:
    ids = pool_of(sqlite_context, noise(2))
    break_files(sqlite_context, torn=ids[0], lost=ids[1])
    cycle = ask_scores(sqlite_context)
    assert done(sqlite_context, Resident(), "score_pool") == {"images": 0, "unreadable": 2}
    assert read_pool_scores(sqlite_context, cycle) == {}


def test_an_image_whose_vectors_are_not_finite_is_not_embedded(
    sqlite_context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    context, resident = sqlite_context, Resident()
    black = np.zeros((64, 96, 3), np.uint8)
    first, dark, last = pool_of(context, [noise(2)[0], black, noise(2)[1]])
    embedder = resident.get("embedder", lambda: RegionEmbedder(DividingEncoder()))
    with context.sessions.begin() as session:
        request_embed(session, [first, dark, last], 32)

    result = done(context, resident, "embed")

    assert result == {"embedded": 2, "unreadable": 1}
    assert f"image {dark} is left out: its vectors are not finite" in caplog.text
    with context.sessions() as session:
        rows = {row.image_id: row for row in session.scalars(select(Embedding))}
    assert set(rows) == {first, last}
    arrays = read_npz(context.project.embeddings / rows[first].file)
    assert all(np.isfinite(array).all() for array in arrays.values())
    alone = embedder.embed_pool([noise(2)[1]])[0]
    assert arrays["wholes"][rows[last].row] == pytest.approx(alone.whole, abs=1e-3)
    done(context, resident, "index")
    index = open_index(context, embedder.version, embedder.width)
    assert set(index.images()) == {first, last}
    # Regions lie in the index alone; asked for once more, the unit finds them there.
    assert set(read_npz(context.project.embeddings / rows[first].file)) == {"counts", "wholes"}
    with context.sessions.begin() as session:
        unit = session.scalars(select(Unit).where(Unit.kind == "index")).one()
        units.enqueue(session, "index", "index:again", unit.payload)
    assert done(context, resident, "index") == {"indexed": 2}
    assert set(index.images()) == {first, last}
    index.delete(last)
    with context.sessions.begin() as session:
        units.enqueue(session, "index", "index:lost", unit.payload)
    assert done(context, resident, "index") == {"indexed": 0, "embedded_again": 2}
    assert "they are embedded again" in caplog.text
    assert done(context, resident, "embed") == {"embedded": 2, "unreadable": 0}
    assert done(context, resident, "index") == {"indexed": 2}
    assert set(index.images()) == {first, last}


def test_a_batch_of_which_nothing_is_finite_is_no_failure(sqlite_context: Context) -> None:
    resident = Resident()
    resident.get("embedder", lambda: RegionEmbedder(DividingEncoder()))
    (dark,) = pool_of(sqlite_context, [np.zeros((64, 96, 3), np.uint8)])
    with sqlite_context.sessions.begin() as session:
        request_embed(session, [dark], 32)
    assert done(sqlite_context, resident, "embed") == {"embedded": 0, "unreadable": 1}
    with sqlite_context.sessions() as session:
        assert session.scalars(select(Embedding)).all() == []
        assert session.scalars(select(Unit).where(Unit.kind == "index")).all() == []


def test_images_are_embedded_once_and_once_more_where_their_vectors_are_lost(
    sqlite_context: Context,
) -> None:
    context, resident = sqlite_context, Resident()
    resident.get("embedder", lambda: RegionEmbedder(DividingEncoder()))
    ids = sorted(pool_of(context, noise(2)))

    def ask(who: str) -> Any:
        with context.sessions.begin() as session:
            request_embed(session, ids, 32, encoder=who)
        return done(context, resident, "embed")

    assert ask("")["embedded"] == 2
    done(context, resident, "index")
    assert ask("again") == {"embedded": 0, "unreadable": 0}

    with context.sessions.begin() as session:
        for row in session.scalars(select(Embedding)):
            session.delete(row)
    assert ask("lost")["embedded"] == 2
    assert done(context, resident, "index") == {"indexed": 2}
    with context.sessions() as session:
        assert all(session.scalars(select(Embedding.indexed)))


def test_regions_that_wait_are_coded_before_there_are_enough_to_seal(
    sqlite_context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    context, encoder, count = sqlite_context, "c" * 64, index_stage.CODE_AT // 2
    images = pool_of(context, noise(2))
    vectors = np.random.default_rng(0).normal(size=(2 * count, 8)).astype(np.float16)
    arrays = {"counts": np.full(2, count), "vectors": vectors, "boxes": np.ones((2 * count, 4))}
    write_npz(context.project.embeddings / "one.npz", wholes=np.ones((2, 4)), **arrays)
    with context.sessions.begin() as session:
        payload = {"file": "one.npz", "images": images, "encoder": encoder, "width": 8}
        units.enqueue(session, "index", "index:one", payload)
    with caplog.at_level("INFO"):
        assert done(context, Resident(), "index") == {"indexed": 2}
    index = open_index(context, encoder, 8)
    assert (index.uncoded(), index.num_stored()) == (0, 2 * count)
    assert f"{2 * count} regions of the index are coded, 0 wait" in caplog.text
    assert index.regions_of(images[1])[0] == pytest.approx(vectors[count:], abs=0.1)


def test_an_index_is_opened_once_for_all_batches(
    sqlite_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who opens it reads the name of every image in it."""
    context, resident, opened = sqlite_context, Resident(), list[str]()

    def counted(context: Context, encoder: str, width: int) -> RegionIndex:
        opened.append(encoder)
        return open_index(context, encoder, width)

    monkeypatch.setattr(index_stage, "open_index", counted)
    for batch in range(3):
        names, file = [f"{batch}{row:063x}" for row in range(2)], f"some/{batch}.npz"
        write_npz(
            context.project.embeddings / file,
            counts=np.full(2, 3),
            vectors=np.random.default_rng(batch).normal(size=(6, 8)).astype(np.float16),
            boxes=np.tile(np.array([0, 0, 9, 9], np.float32), (6, 1)),
            wholes=np.ones((2, 4), np.float16),
        )
        payload = {"file": file, "images": names, "encoder": "e" * 64, "width": 8}
        with context.sessions.begin() as session:
            units.enqueue(session, "index", f"index:{file}", payload)
        assert done(context, resident, "index") == {"indexed": 2}
        assert len(open_index(context, "e" * 64, 8)) == 6 * (batch + 1)
    assert opened == ["e" * 64]


def test_a_look_says_how_long_it_took(sqlite_context: Context) -> None:
    context = sqlite_context
    pool_of(context, noise(3))
    ask_scores(context)
    with context.sessions() as session:
        assert pool_scores.seconds_an_image(session) is None
        assert read_plan(session, context, "random").minutes_to_look is None
    seconds = done(context, Resident(), "score_pool")["seconds"]
    with context.sessions() as session:
        assert pool_scores.seconds_an_image(session) == pytest.approx(seconds / 3)
        planned = read_plan(session, context, "random").minutes_to_look
    assert planned == pytest.approx(seconds / 60, abs=0.06)
