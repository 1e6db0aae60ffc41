"""Whatever moment a process is killed at, nothing is half done, and doing it again ends it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from benchmarks.common.projects import make_project
from benchmarks.common.waiting import PATIENCE
from retrain.config import DetectorConfig
from retrain.detector import SsdDetector
from services import context as wiring
from services import units
from services.config.settings import Settings
from services.context import Context
from services.db import migrate
from services.db.base import Base
from services.db.engine import reading
from services.db.tables import TERMINAL, Embedding, Role, Unit
from services.errors import Conflict
from services.intake.frames import ingest_frame
from services.intake.imports import import_dataset
from services.models import importing as model_import
from services.models import registry
from services.store.region_index import open_index
from services.store.storage import put_image, write_npz
from services.units.resident import Resident
from services.upkeep import invariants
from services.worker import shell
from tests import bad_images
from tests.integration import crash_points
from tests.integration.crash_points import Operation
from tests.retrain.conftest import warmed
from tests.services.builders import make_image
from tests.services.datasets_on_disk import pictures, write_coco
from tests.services.whole_project import ENCODER, NAMES, WIDTH, make_whole

pytestmark = pytest.mark.whole

MOMENTS = 8
"""So many of an operation's moments are tried, spread over all."""
CAR = {"box": [2, 3, 12, 11], "label": "car"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with something of every kind, to be copied."""
    root = make_project(tmp_path_factory.mktemp("whole") / "p").root
    with opened(root) as context:
        migrate.upgrade(context.engine)
        make_whole(context)
    return root


@contextmanager
def opened(root: Path) -> Iterator[Context]:
    context = wiring.build(Settings(project=root))
    yield context
    context.engine.dispose()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("seed"), pictures(100, 101, 102))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> SsdDetector:
    """A detector that is in no registry yet."""
    config = DetectorConfig("ssdlite_efficientnet_lite0", NAMES, (64, 96), min_scale=0.15)
    return SsdDetector(warmed(config, "random"), config)


def importing(dataset: Path, _weights: SsdDetector) -> Operation:
    def import_seed(context: Context) -> None:
        assert not import_dataset(context, dataset, Role.SEED).problems

    return import_seed


def ingesting(_dataset: Path, _weights: SsdDetector) -> Operation:
    def ingest(context: Context) -> None:
        ingest_frame(context, bad_images.png(200), "f.png", objects=[CAR])

    return ingest


def adding_a_model(_dataset: Path, weights: SsdDetector) -> Operation:
    def add(context: Context) -> None:
        try:
            model_import.add(context, weights, Path("given"), "test")
        except Conflict:  # it is there already: the process died after its commit
            return

    return add


def promoting(dataset: Path, weights: SsdDetector) -> Operation:
    def promote(context: Context) -> None:
        adding_a_model(dataset, weights)(context)
        with context.sessions.begin() as session:
            model = registry.find(session, weights.version)
            if registry.require_champion(session).id != model.id:
                registry.promote(session, model, "test", {})

    return promote


def rolling_back(dataset: Path, weights: SsdDetector) -> Operation:
    def roll_back(context: Context) -> None:
        with reading(context.sessions) as session:
            promoted = registry.require_champion(session).id == weights.version
        if promoted:
            with context.sessions.begin() as session:
                registry.rollback(session, "test")

    return roll_back


def indexing(_dataset: Path, _weights: SsdDetector) -> Operation:
    """A unit of the index queue, as a worker does it; what a killed one held is soon free."""

    def index(context: Context) -> None:
        context.settings.selection.seal_rows = 1  # below its bound: every batch ends in a seal
        with reading(context.sessions) as session:
            unit_id = session.scalar(select(Unit.id).where(Unit.kind == "index"))
        assert unit_id is not None
        deadline = time.monotonic() + 20 * PATIENCE
        while shell.run(context, Resident(), unit_id, "me") == "skipped":
            with reading(context.sessions) as session:
                if units.find(session, unit_id).state in TERMINAL:
                    return
            assert time.monotonic() < deadline
            time.sleep(0.01)

    return index


def _embed_one(context: Context) -> None:
    """An image that is embedded, and whose unit waits for the index."""
    stored = put_image(context, bad_images.png(300))
    vectors = np.random.default_rng(0).normal(size=(2, WIDTH)).astype(np.float16)
    boxes = np.tile(np.array([1, 1, 9, 9], np.float32), (2, 1))
    arrays = {"vectors": vectors, "boxes": boxes, "counts": np.array([2])}
    write_npz(context.project.embeddings / "one.npz", **arrays)
    with context.sessions.begin() as session:
        session.add(make_image(300, Role.POOL, id=stored.id, file=stored.file))
        session.flush()
        embedding = {"file": "one.npz", "row": 0, "regions": 2}
        session.add(Embedding(image_id=stored.id, encoder_version=ENCODER, **embedding))
        payload = {"images": [stored.id], "file": "one.npz", "encoder": ENCODER, "width": WIDTH}
        units.enqueue(session, "index", "index:one", payload)


PREPARED: dict[str, Callable[[Context], None]] = {"indexing": _embed_one}
OPERATIONS: dict[str, Callable[[Path, SsdDetector], Operation]] = {
    "importing": importing,
    "ingesting": ingesting,
    "adding a model": adding_a_model,
    "promoting": promoting,
    "rolling back": rolling_back,
    "indexing": indexing,
}


def contents(context: Context) -> dict[str, Any]:
    """How many rows each table has, the champion, and the images of the index."""
    passing = ("outbox", "audit")  # messages come and go
    with reading(context.sessions) as session:
        found: dict[str, Any] = {
            name: session.scalar(select(func.count()).select_from(table))
            for name, table in Base.metadata.tables.items()
            if name not in passing
        }
        found["champion"] = registry.require_champion(session).id
    found["index"] = open_index(context, ENCODER, WIDTH).images()
    return found


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_any_moment_and_done_again(
    name: str, template: Path, dataset: Path, weights: SsdDetector, tmp_path: Path
) -> None:
    operation = OPERATIONS[name](dataset, weights)

    def project(folder: str) -> Settings:
        root = tmp_path / folder
        shutil.copytree(template, root)
        with opened(root) as context:
            if name == "rolling back":
                promoting(dataset, weights)(context)
            PREPARED.get(name, lambda _context: None)(context)
        return Settings(project=root, workers={"lease_s": 0.5})

    whole = project("whole")
    moments = crash_points.run(whole, operation)
    assert moments is not None
    assert moments >= 4
    with opened(whole.project) as context:
        expected = contents(context)
        assert invariants.check(context) == []
    for number in range(MOMENTS):
        moment = 1 + number * moments // MOMENTS
        settings = project(f"killed-{number}")
        assert crash_points.run(settings, operation, moment) is None, "it was not killed"
        crash_points.run(settings, operation)
        with opened(settings.project) as context:
            wrong = [str(finding) for finding in invariants.check(context)]
            assert wrong == [], f"killed at moment {moment} of {moments}"
            assert contents(context) == expected, f"killed at moment {moment} of {moments}"
        shutil.rmtree(settings.project)
