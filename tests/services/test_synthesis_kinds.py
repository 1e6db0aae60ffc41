"""Each kind of failure gets samples of its own, with pixels of the field or of the pool."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from benchmarks.common.projects import make_context
from curation.embedding.embed import RegionEmbedder
from curation.embedding.encoder import TimmEncoder
from curation.kernel.images import encode_png
from services.context import Context
from services.db import sides
from services.db.tables import (
    Annotation,
    GeneratedRow,
    HarmRow,
    Image,
    Role,
    SampleState,
    Unit,
)
from services.report import words
from services.store.region_index import open_index
from services.store.storage import put_image
from services.synthesis import samples
from services.units.resident import Resident
from services.upkeep.invariants import rows as invariant_rows
from tests.services.builders import make_image
from tests.services.drawn_world import (
    BOX,
    HEIGHT,
    SIGN,
    WIDTH,
    Misled,
    begin,
    cycle_of,
    make_world,
    picture,
    rows,
    work,
)

SMALL = {
    "encoder_height_px": HEIGHT,
    "encoder_width_px": WIDTH,
    "encoder_weights": "random",
}


def project(folder: Path, template: Path) -> Context:
    """An empty one, whose encoder is small."""
    folder.mkdir()
    shutil.copyfile(template, folder / "p.db")
    return make_context(folder / "p", f"sqlite:///{folder / 'p.db'}", selection=SMALL)


@pytest.fixture(scope="module")
def misled(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> tuple[Context, int]:
    """A cycle whose champion takes what is magenta for a car."""
    plain = project(tmp_path_factory.mktemp("misled") / "1", sqlite_template)
    context, cycle_id = make_world(plain, alike=True, controls=0.25, budget_images=8)
    begin(context, cycle_id)
    assert work(context, champion=Misled) == "done"
    return context, cycle_id


def of_staging(context: Context, staging: str, *states: str) -> list[GeneratedRow]:
    return [row for row in rows(context) if row.staging == staging and row.state in states]


def test_a_false_detection_is_put_where_nothing_is_and_trained_on_as_nothing(
    misled: tuple[Context, int],
) -> None:
    context, cycle_id = misled
    kept = of_staging(context, "lookalike", SampleState.KEPT)
    told = cycle_of(context, cycle_id).drawing
    assert kept, told
    assert of_staging(context, "control_alike", SampleState.KEPT, SampleState.REFUSED)
    with context.sessions() as session:
        for row in kept:
            assert row.score_before is not None
            assert row.score_after is not None
            assert row.score_before < 0.5 <= row.score_after
            label = session.scalars(
                select(Annotation).where(Annotation.image_id == row.image_id)
            ).one()
            assert [entry["box"] for entry in label.objects] == [BOX]  # the scene's own car
            harm = session.get_one(HarmRow, row.harm_id)
            assert harm.vacant
            assert harm.box == SIGN
            said = samples.told(session, row)
            assert said["donor"]["role"] == "seed"
            assert said["box"] == row.donor_box
    assert told is not None
    (mode,) = told["modes"]
    assert mode["by"][0]["staging"] == "lookalike"
    assert mode["works"]
    assert "where nothing is" in words.drawn_in_words(told, mode["mode"])
    assert list(invariant_rows.drawn(context)) == []


def test_a_false_detection_on_a_labelled_object_is_left_alone(sqlite_context: Context) -> None:
    """It may be that object, seen twice: a look-alike of it would teach to miss it."""
    context, cycle_id = make_world(sqlite_context, alike=True)
    with context.sessions.begin() as session:
        for label in session.scalars(
            select(Annotation)
            .join(Image, Image.id == Annotation.image_id)
            .where(Image.role == Role.FIELD)
        ):
            label.objects = [{"box": [32.0, 32.0, 56.0, 64.0], "label": "car", "ignore": False}]
    begin(context, cycle_id)
    assert work(context, champion=Misled) == "done"
    told = cycle_of(context, cycle_id).drawing
    assert told is not None
    assert rows(context) == []
    assert "twice or badly" in told["why"]


def with_pool(context: Context) -> None:
    """Pool images with what is magenta and without, indexed; the first of them is labelled."""
    encoder = TimmEncoder(input_size_hw=(HEIGHT, WIDTH), weights="random")
    embedder = RegionEmbedder(encoder, mask_size_hw=(HEIGHT, WIDTH))
    index = open_index(context, embedder.version, embedder.width)
    ids, pictures = [], []
    with context.sessions.begin() as session:
        for number in range(300, 312):
            pixels = picture(number, guilty=number < 306)
            pixels[42:54, 58:70] = pixels[10:22, 58:70]  # no car stands there
            stored = put_image(context, encode_png(pixels))
            image = make_image(
                number,
                Role.POOL,
                id=stored.id,
                file=stored.file,
                width_px=WIDTH,
                height_px=HEIGHT,
                perceptual_hash=stored.perceptual_hash,
            )
            session.add(image)
            ids.append(stored.id)
            pictures.append(pixels)
        session.flush()
        session.add(Annotation(image_id=ids[0], objects=[]))
    cells = embedder.embed_pool(pictures)
    index.add(ids, [one.vectors for one in cells], [one.boxes_xyxy for one in cells])


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> tuple[Context, int]:
    """A cycle none of whose frames teaches, and a pool that holds what hurt."""
    plain = project(tmp_path_factory.mktemp("pooled") / "1", sqlite_template)
    context, cycle_id = make_world(plain, parents=0, harm_from="pool", budget_images=12)
    with_pool(context)
    begin(context, cycle_id)
    assert work(context, resident=Resident()) == "done"
    return context, cycle_id


def test_frames_that_judge_ask_the_pool_and_give_no_pixels(pooled: tuple[Context, int]) -> None:
    context, cycle_id = pooled
    told = cycle_of(context, cycle_id).drawing
    kept = [row for row in rows(context) if row.state == SampleState.KEPT]
    assert kept, told
    with context.sessions() as session:
        harms = [session.get_one(HarmRow, row.harm_id) for row in kept]
        frames = [session.get_one(Image, harm.image_id) for harm in harms]
        labelled = set(session.scalars(select(Annotation.image_id)))
        judging = session.scalars(
            select(Image.id).where(Image.role == Role.FIELD, sides.is_judged())
        ).all()
        queue = session.scalars(select(Unit.queue).where(Unit.kind == "synthesize")).one()
    assert {frame.role for frame in frames} == {Role.POOL}
    assert not {frame.id for frame in frames} & labelled
    assert len(judging) == 6  # they asked, and judge all the same
    assert queue == "index"  # its workers have the index
    assert told is not None
    (mode,) = told["modes"]
    assert set(mode["sources"]) == {"pool"}
    assert told["harm_from"] == "pool"
    assert "from the pool" in words.drawn_in_words(told, mode["mode"])
    assert list(invariant_rows.drawn(context)) == []


def test_known_objects_are_put_into_scenes_of_the_pool(pooled: tuple[Context, int]) -> None:
    context, _ = pooled
    stagings = Counter(row.staging for row in rows(context))
    assert stagings["surround"]
    assert stagings["insert"]
    inserted = of_staging(context, "insert", SampleState.KEPT)
    assert inserted
    with context.sessions() as session:
        for row in inserted:
            assert row.box is not None
            label = session.scalars(
                select(Annotation).where(Annotation.image_id == row.image_id)
            ).one()
            assert label.objects[0]["box"] == row.box
            assert all(entry["ignore"] for entry in label.objects[1:])


def test_without_an_index_the_pool_gives_nothing_and_says_why(
    tmp_path: Path, sqlite_template: Path
) -> None:
    plain = project(tmp_path / "1", sqlite_template)
    context, cycle_id = make_world(plain, parents=0, harm_from="pool")
    begin(context, cycle_id)
    assert work(context) == "done"
    told = cycle_of(context, cycle_id).drawing
    assert told is not None
    assert rows(context) == []
    assert "nothing of the pool is indexed" in told["why"]


def test_the_field_is_asked_where_the_pool_has_nothing(
    tmp_path: Path, sqlite_template: Path
) -> None:
    plain = project(tmp_path / "1", sqlite_template)
    context, cycle_id = make_world(plain, harm_from="pool_then_field")
    begin(context, cycle_id)
    assert work(context) == "done"
    told = cycle_of(context, cycle_id).drawing
    assert told is not None
    (mode,) = told["modes"]
    assert mode["sources"] == {"field": 4}
    assert mode["kept"] > 0
