"""A project whose files lie in a bucket: pictures and models come, go and are told where lost."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from benchmarks.common.buckets import Seaweed
from benchmarks.common.projects import make_context
from curation.kernel.errors import ImageUnreadable
from curation.kernel.images import decode
from retrain.errors import CheckpointCorrupt
from services.api.app import create_app
from services.config import builders
from services.context import Context
from services.db.engine import reading
from services.db.tables import Image, Model, ModelState, Role
from services.intake.frames import ingest_frame
from services.intake.imports import import_dataset
from services.models import datasets, evaluation
from services.store import model_folders, storage
from services.store.project_store import store_of
from tests import bad_images
from tests.services.builders import make_image
from tests.services.datasets_on_disk import pictures, write_coco
from tests.tiny_ssd import tiny_ssd


def folder_of(context: Context, name: str) -> list[Path]:
    return [path for path in (context.project.root / name).rglob("*") if path.is_file()]


def test_an_import_and_a_frame_lie_in_the_bucket_alone(
    bucket_context: Context, tmp_path: Path
) -> None:
    context, given = bucket_context, pictures(1, 2, 3)
    for _ in range(2):  # twice is once
        report = import_dataset(context, write_coco(tmp_path / "seed", given), Role.SEED)
    frame = bad_images.png(9)
    ingest_frame(context, frame, "frame.png", objects=[])

    assert report.images_known == 3
    with reading(context.sessions) as session:
        rows = list(session.scalars(select(Image)))
    for row in rows:
        data = storage.image_bytes(context, row)
        assert data in [*given.values(), frame]
        assert (storage.open_image(context, row) == decode(data)).all()
    kept = {entry.key for entry in store_of(context).walk("images")}
    assert kept == {f"images/{row.file}" for row in rows}
    assert folder_of(context, "images") == []


def test_a_picture_that_was_changed_or_lost_costs_only_itself(bucket_context: Context) -> None:
    context, store = bucket_context, store_of(bucket_context)
    stored = [storage.put_image(context, bad_images.png(seed)) for seed in (1, 2, 3)]
    rows = [make_image(n, id=one.id, file=one.file) for n, one in enumerate(stored)]
    store.objects.put(f"images/{stored[0].file}", bad_images.png(4))  # another picture, and whole
    store.delete(f"images/{stored[1].file}")

    with pytest.raises(ImageUnreadable, match=r"does not hold what it is named by.*import the sam"):
        storage.open_image(context, rows[0])
    with pytest.raises(FileNotFoundError, match=stored[1].id):
        storage.open_image(context, rows[1])
    assert storage.image_bytes(context, rows[2]) == bad_images.png(3)
    with store.local_images(one.file for one in stored) as folder:
        assert [(folder / one.file).exists() for one in stored] == [False, False, True]

    for seed in (1, 2):  # the advice holds
        storage.put_image(context, bad_images.png(seed))
    store.objects.put(f"images/{stored[0].file}", bad_images.png(1))
    assert storage.image_bytes(context, rows[0]) == bad_images.png(1)


def test_a_damaged_copy_is_fetched_again(bucket_context: Context) -> None:
    context = bucket_context
    stored = storage.put_image(context, bad_images.png(1))
    row = make_image(1, id=stored.id, file=stored.file)
    storage.image_bytes(context, row)
    (copy,) = folder_of(context, "cache/objects")
    copy.write_bytes(b"bits have tipped over")

    assert storage.image_bytes(context, row) == bad_images.png(1)


def test_images_for_a_run_have_the_same_place_when_it_is_resumed(bucket_context: Context) -> None:
    context, store = bucket_context, store_of(bucket_context)
    files = [storage.put_image(context, bad_images.png(seed)).file for seed in (1, 2)]

    with store.local_images(files[:1], "train-first") as first:
        assert (first / files[0]).is_file()
    with store.local_images(files, "train-first") as again:
        assert again == first
        assert all((again / file).is_file() for file in files)
    assert not again.exists()


def test_the_api_sends_the_bytes_or_a_signed_address(
    tmp_path: Path, sqlite_url: str, seaweed: Seaweed
) -> None:
    place = seaweed.settings()
    for public in ("", seaweed.endpoint.replace("127.0.0.1", "localhost")):
        storage_settings = place | {"public_endpoint": public}
        context = make_context(
            tmp_path / "project", sqlite_url, api={"token": "secret"}, storage=storage_settings
        )
        stored = storage.put_image(context, bad_images.png(1))
        if not public:
            with context.sessions.begin() as session:
                session.add(make_image(1, id=stored.id, file=stored.file))
                session.add(make_image(2))
        client = TestClient(create_app(context), headers={"Authorization": "Bearer secret"})
        answer = client.get(f"/v1/images/{stored.id}/file", follow_redirects=False)
        if public:
            assert answer.status_code == 307
            assert answer.headers["location"].startswith(f"{public}/e2x/")
            answer = httpx.get(answer.headers["location"])  # without our token
        assert answer.status_code == 200
        assert (answer.content, answer.headers["content-type"]) == (bad_images.png(1), "image/png")
        lost = client.get(f"/v1/images/{make_image(2).id}/file", follow_redirects=False)
        assert public or (lost.status_code, lost.json()["code"]) == (404, "not_found")
        context.engine.dispose()


def test_a_model_is_whole_before_a_row_can_name_it(bucket_context: Context) -> None:
    context, detector = bucket_context, tiny_ssd()

    def dies(folder: Path) -> None:
        detector.save(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model_folders.keep(context, detector.version, dies)
    assert list(store_of(context).walk("models")) == []

    folder = model_folders.keep(context, detector.version, detector.save)
    assert model_folders.keep(context, detector.version, dies) == folder  # twice is once
    with model_folders.local(context, folder) as path:
        assert builders.load_detector(path, context.settings).version == detector.version
    assert not path.exists()
    assert folder_of(context, "models") == []

    store_of(context).put(f"{folder}/model.safetensors", b"damaged")
    shutil.rmtree(context.project.root / "cache")
    with (
        model_folders.local(context, folder) as path,
        pytest.raises(CheckpointCorrupt, match=r"model\.safetensors"),
    ):
        builders.load_detector(path, context.settings)
    store_of(context).delete(f"{folder}/model.safetensors")
    store_of(context).delete(f"{folder}/config.json")
    with (
        model_folders.local(context, folder) as path,
        pytest.raises(CheckpointCorrupt, match=folder),
    ):
        builders.load_detector(path, context.settings)


def test_a_model_is_judged_on_pictures_of_the_bucket_once(
    bucket_context: Context, tmp_path: Path
) -> None:
    context, detector = bucket_context, tiny_ssd()
    import_dataset(context, write_coco(tmp_path / "holdout", pictures(1, 2)), Role.HOLDOUT)
    folder = model_folders.keep(context, detector.version, partial(detector.save))
    with context.sessions.begin() as session:
        session.add(
            Model(
                id=detector.version,
                number=1,
                state=ModelState.CHALLENGER,
                folder=folder,
                architecture=detector.config.architecture,
                class_names=list(detector.class_names),
            )
        )
    with reading(context.sessions) as session:
        holdout = datasets.labelled_set(session, Role.HOLDOUT)
    names = holdout.class_names

    report = evaluation.evaluate_model(context, detector.version, holdout, names)

    assert (report.num_images, report.unreadable) == (2, 0)
    kept = [entry.key for entry in store_of(context).walk(folder)]
    assert sum("/report-" in key for key in kept) == 1
    store_of(context).delete(f"{folder}/config.json")  # what is kept is read without the model
    assert evaluation.evaluate_model(context, detector.version, holdout, names) == report


def test_a_dataset_version_is_kept_in_the_bucket(bucket_context: Context, tmp_path: Path) -> None:
    context = bucket_context
    import_dataset(context, write_coco(tmp_path / "seed", pictures(1)), Role.SEED)

    row = datasets.build_version(context)

    assert datasets.read_version(context, row).version == row.id
    assert datasets.for_run(context, row, tmp_path).read_bytes() == store_of(context).get(
        f"manifests/{row.file}"
    )
