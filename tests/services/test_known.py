"""What the champion was trained on: a sample of it embedded once; and which images are near."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import skimage.data
import torch

from curation.embedding.embed import RegionEmbedder
from curation.embedding.encoder import TimmEncoder
from curation.index import RegionIndex
from curation.kernel.types import Box, Detections, FailureKind, FloatArray, ImageArray
from curation.select import ModeQuery, PoolImage, plan
from services.context import Context
from services.db.tables import Annotation, FailureState, Image, Model, Role
from services.models.datasets import build_version
from services.selection import rois, training_sample
from services.selection.choose import Terms, choose
from services.selection.inputs import barred_hashes
from services.store.region_index import open_index
from services.store.storage import open_image, write_npz
from tests.services.builders import add_champion, make_failure
from tests.services.report_project import add_explanation, add_photo

LABELS = ["car", "sign"]


@pytest.fixture(scope="module")
def embedder() -> RegionEmbedder:
    return RegionEmbedder(TimmEncoder(weights="random", input_size_hw=(64, 96)), None, (64, 96))


def trained(context: Context) -> Model:
    """A champion that was trained on three photographs with two objects each."""
    with context.sessions.begin() as session:
        champion = add_champion(session)
        champion.class_names = ["background", "car"]
        photos = (skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket())
        for number, photo in enumerate(photos):
            image = add_photo(session, context, photo, Role.SEED, f"{number}.jpg")
            objects = [
                {"box": [20, 20, 120, 90], "label": LABELS[number % 2], "ignore": False},
                {"box": [60, 60, 200, 190], "label": "car", "ignore": False},
            ]
            session.add(Annotation(image_id=image.id, objects=objects))
    version = build_version(context)
    with context.sessions.begin() as session:
        champion = session.get_one(Model, champion.id)
        champion.dataset_version_id = version.id
    return champion


def test_training_objects_are_embedded_once(
    sqlite_context: Context, embedder: RegionEmbedder
) -> None:
    champion = trained(sqlite_context)
    found = training_sample.training_sample(sqlite_context, champion, embedder)
    assert found is not None
    assert found.objects.vectors.shape == (6, embedder.width)
    assert sorted(found.objects.labels) == [0, 1, 1, 1, 1, 1]  # a class the champion lacks is 0
    (whole,) = embedder.embed_pool([skimage.data.coffee()])
    assert np.isclose(found.wholes @ whole.whole, 1, atol=1e-3).sum() == 1
    assert len(found.wholes) == 3
    with sqlite_context.sessions() as session:
        for image in session.query(Image):
            (sqlite_context.project.images / image.file).unlink()
    again = training_sample.training_sample(sqlite_context, champion, embedder)
    assert again is not None
    assert np.array_equal(again.objects.vectors, found.objects.vectors)
    assert np.array_equal(again.wholes, found.wholes)


def test_what_a_failure_asked_for_is_not_known(
    sqlite_context: Context, embedder: RegionEmbedder
) -> None:
    champion = trained(sqlite_context)
    with sqlite_context.sessions.begin() as session:
        image = add_photo(session, sqlite_context, skimage.data.astronaut(), Role.POOL, "a.jpg")
        objects = [{"box": [20, 20, 120, 90], "label": "car", "ignore": False}]
        session.add(Annotation(image_id=image.id, objects=objects, origin="a-failure"))
    version = build_version(sqlite_context)
    assert version.id != champion.dataset_version_id
    champion.dataset_version_id = version.id
    found = training_sample.training_sample(sqlite_context, champion, embedder)
    assert found is not None
    assert len(found.objects.vectors) == 6
    kept = list(sqlite_context.project.embeddings.glob("training-*.npz"))
    assert len(kept) == 1


def test_an_unreadable_training_image_is_left_out(
    sqlite_context: Context, embedder: RegionEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    champion = trained(sqlite_context)
    with sqlite_context.sessions() as session:
        first = session.query(Image).order_by(Image.id).first()
        assert first is not None
    file = sqlite_context.project.images / first.file
    whole = file.read_bytes()
    file.write_bytes(b"no image")
    found = training_sample.training_sample(sqlite_context, champion, embedder)
    assert found is not None
    assert len(found.objects.vectors) == len(found.objects.labels) == 4
    assert len(found.wholes) == 2
    assert f"training image {first.id}" in caplog.text
    assert "1 of 3 training images cannot be opened" in caplog.text

    file.write_bytes(whole)  # it is back
    again = training_sample.training_sample(sqlite_context, champion, embedder)
    assert again is not None
    assert len(again.wholes) == 3


def test_a_model_from_elsewhere_is_taken_to_know_the_seed_set(
    sqlite_context: Context, embedder: RegionEmbedder
) -> None:
    with sqlite_context.sessions.begin() as session:
        champion = add_champion(session)
    assert training_sample.training_sample(sqlite_context, champion, embedder) is None
    with sqlite_context.sessions.begin() as session:
        image = add_photo(session, sqlite_context, skimage.data.coffee(), Role.SEED, "c.jpg")
        objects = [{"box": [20, 20, 120, 90], "label": "car", "ignore": False}]
        session.add(Annotation(image_id=image.id, objects=objects))
    found = training_sample.training_sample(sqlite_context, champion, embedder)
    assert found is not None
    assert list(found.objects.labels) == [1]


def test_damage_to_what_is_kept_costs_only_time(
    sqlite_context: Context, embedder: RegionEmbedder
) -> None:
    champion = trained(sqlite_context)
    found = training_sample.training_sample(sqlite_context, champion, embedder)
    [kept] = sqlite_context.project.embeddings.glob("training-*.npz")
    kept.write_bytes(kept.read_bytes()[:100])
    again = training_sample.training_sample(sqlite_context, champion, embedder)
    assert found is not None
    assert again is not None
    assert np.array_equal(again.objects.vectors, found.objects.vectors)


def test_the_like_of_labels_and_holdouts_is_barred(sqlite_context: Context) -> None:
    trained(sqlite_context)
    with sqlite_context.sessions.begin() as session:
        add_photo(session, sqlite_context, skimage.data.astronaut(), Role.HOLDOUT, "h.jpg")
        free = add_photo(session, sqlite_context, skimage.data.coffee()[::-1], Role.POOL, "p.jpg")
        labelled = add_photo(
            session, sqlite_context, skimage.data.rocket()[::-1], Role.POOL, "l.jpg"
        )
        photo = skimage.data.chelsea()[::-1]
        failed = add_photo(session, sqlite_context, photo, Role.FIELD, "f.jpg")
        session.add_all(Annotation(image_id=one.id, objects=[]) for one in (labelled, failed))
        session.flush()
        hashes = {int(image.perceptual_hash, 16) for image in session.query(Image)}
        allowed = {int(image.perceptual_hash, 16) for image in (free, failed)}
    assert set(barred_hashes(sqlite_context)) == hashes - allowed
    assert len(hashes) == 7


def scattered(around: float, count: int, width: int, seed: int) -> FloatArray:
    """Vectors [count, width] that have a part in common, noise beside it."""
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(0).normal(size=width)
    return (around * common + rng.normal(size=(count, width))).astype(np.float32)


def test_modes_are_as_wide_as_their_class(
    sqlite_context: Context, embedder: RegionEmbedder
) -> None:
    champion, width = trained(sqlite_context), embedder.width
    index = open_index(sqlite_context, embedder.version, width)
    noise = scattered(0, 64, width, seed=1)
    index.add(["p"], [noise], [np.tile(np.array([0, 0, 9, 9], np.float32), (64, 1))])
    none = np.zeros((0, width), np.float32)
    with sqlite_context.sessions.begin() as session:
        photo = skimage.data.astronaut()
        frame = add_photo(session, sqlite_context, photo, Role.FIELD, "f.jpg")
        for number, vector in enumerate(scattered(0.4, 12, width, seed=2)):
            failure = make_failure(
                number, frame, champion, label="car", state=FailureState.EXPLAINED
            )
            session.add(failure)
            session.flush()
            explanation = add_explanation(session, sqlite_context, failure, photo=0)
            explanation.encoder_version = embedder.version
            write_npz(
                sqlite_context.project.explanations / explanation.file,
                vectors=none,
                weights=np.zeros(0, np.float32),
                object_vector=vector,
                image_vector=vector,
            )

    def modes(around: float) -> int:
        training_sample.training_sample(sqlite_context, champion, embedder)
        (kept,) = sqlite_context.project.embeddings.glob("training-*.npz")
        cars = np.ones(40, np.int64)
        none = np.zeros((0, 0), np.float32)
        write_npz(kept, vectors=scattered(around, 40, width, seed=3), labels=cars, wholes=none)
        chosen = choose(sqlite_context, champion, embedder, {}, Terms("e2x", 0, 9))
        return len(chosen.modes)

    assert modes(0.0) == 1  # any two cars are strangers, these failures less so
    assert modes(1.0) > 1


def test_only_the_shortlist_is_looked_at_closely(
    sqlite_context: Context,
    embedder: RegionEmbedder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with sqlite_context.sessions.begin() as session:
        photos = [skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket()]
        ids = [
            add_photo(session, sqlite_context, photo, Role.POOL, f"{number}.jpg").id
            for number, photo in enumerate(photos)
        ]
    index = RegionIndex(sqlite_context.project.root / "near", embedder.version, embedder.width)
    cells = embedder.embed_pool(photos)
    index.add(ids, [one.vectors for one in cells], [one.boxes_xyxy for one in cells])
    wanted = cells[1].vectors[0]
    none = np.zeros((0, embedder.width), np.float32)
    query = ModeQuery(
        "m", FailureKind.FALSE_NEGATIVE, 1, none, np.zeros(0, np.float32), object_vector=wanted
    )
    monkeypatch.setattr(plan, "SHORTLIST", 1)
    near = plan.shortlist([query], index, budget_boxes=0)
    assert near == {ids[1]}
    # An image that was asked for before is nearest to what asked for it and takes nobody's place.
    assert len(plan.shortlist([query], index, 0, {ids[1]}) & {ids[0], ids[2]}) == 1
    found = Detections(
        np.array([[10, 10, 90, 90]], np.float32), np.array([0.1]), np.ones(1), np.zeros(1)
    )
    pool = [PoolImage(image, detections=found) for image in ids]
    closer = rois.with_rois(sqlite_context, pool, embedder, near)
    assert [image.rois is not None for image in closer] == [False, True, False]
    assert closer[1].rois is not None
    assert closer[1].rois.shape == (1, embedder.width)

    with sqlite_context.sessions() as session:
        (sqlite_context.project.images / session.get_one(Image, ids[1]).file).write_bytes(b"no")
    assert rois.with_rois(sqlite_context, pool, embedder, near)[1].detections is None
    assert f"image {ids[1]} is compared by no detection" in caplog.text


def test_objects_are_encoded_together_and_as_each_alone(
    sqlite_context: Context, embedder: RegionEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket()]
    with sqlite_context.sessions.begin() as session:
        ids = [
            add_photo(session, sqlite_context, photo, Role.POOL, f"{number}.jpg").id
            for number, photo in enumerate(photos)
        ]
    boxes = np.array([[10, 10, 90, 90], [50, 40, 200, 160]], np.float32)
    pool = [
        PoolImage(ids[0], detections=Detections(boxes, np.array([0.5, 0.1]), *np.ones((2, 2)))),
        PoolImage(ids[1], detections=Detections(boxes[:0], *np.ones((3, 0)))),
        PoolImage(ids[2], detections=Detections(boxes[1:], np.array([0.3]), *np.ones((2, 1)))),
    ]
    together: list[int] = []
    encode = TimmEncoder.encode

    def counted(encoder: TimmEncoder, images: Sequence[ImageArray]) -> torch.Tensor:
        together.append(len(images))
        return encode(encoder, images)

    monkeypatch.setattr(TimmEncoder, "encode", counted)
    closer = rois.with_rois(sqlite_context, pool, embedder)
    assert together == [2]  # what shows nothing is not encoded
    assert [image.image for image in closer] == ids
    assert closer[1].rois is not None
    assert closer[1].rois.shape == (0, embedder.width)
    with sqlite_context.sessions() as session:
        opened = open_image(sqlite_context, session.get_one(Image, ids[0]))
    asked: list[Box] = [(10.0, 10.0, 90.0, 90.0), (50.0, 40.0, 200.0, 160.0)]
    alone = embedder.embed_failures(opened, asked, [[], []])
    assert closer[0].rois is not None
    np.testing.assert_allclose(
        closer[0].rois, np.stack([one.object_vector for one in alone]), atol=1e-6
    )
