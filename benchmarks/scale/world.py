"""The project that grows: a small real detector of the street world, and what it fails at.

Everything but the pool comes in through the service's own doors: seed, holdout and field frames,
the training, the scans and the explanations. The real pictures that the pool's rows share lie in
the store beside them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sqlalchemy import func, select

from benchmarks.common.keep import kept
from benchmarks.retrieval.vectors import Source, source
from curation.embedding.embed import RegionEmbedder
from curation.kernel.images import decode, encode_png
from curation.kernel.types import Detections, FloatArray
from retrain import checkpoint
from retrain.detector import SsdDetector
from retrain.ssd import build
from services import context as wiring
from services.config import builders
from services.config.settings import PROJECT_FILE, Settings
from services.context import Context
from services.db import migrate
from services.db.engine import reading
from services.db.tables import FailureRow, FailureState, Image, Role, Unit, UnitState
from services.demo.street import CLASS_NAMES, Scene, WorldConfig, generate, write_coco
from services.intake.frames import ingest_frame
from services.intake.imports import import_dataset
from services.models import evaluation, importing, registry, training
from services.selection.training_sample import training_sample
from services.store.storage import StoredImage, put_image
from services.units.resident import Resident
from services.worker import shell

SEED, HOLDOUT, FIELD = 60, 30, 10
INPUT_HW = (96, 128)
"""Of detector and encoder, half of the street world's: what a look at an image costs is the same
at every size of the pool, and not what is measured here."""
KEPT = "real.pickle"
SETTINGS = """\
seed = 0
[detector]
input_height_px = {height}
input_width_px = {width}
min_scale = 0.08
[training]
epochs = {epochs}
learning_rate = 2e-3
[explanation]
num_samples = 8
num_segments = 100
[selection]
encoder_height_px = {height}
encoder_width_px = {width}
budget_boxes = {budget}
[workers]
threads = 1
[api]
port = 0
"""


@dataclass(frozen=True, slots=True)
class Real:
    """What the pool is drawn around.

    Attributes:
        pictures: in the store, shared by the rows of the pool.
        drawn: vectors of their regions.
        wholes: [I, D] float32 of whole pictures.
        boxes_xyxy: [R, 4] px of the regions that are kept.
        encoder: version of the encoder.
    """

    pictures: list[StoredImage]
    drawn: Source
    wholes: FloatArray
    boxes_xyxy: FloatArray
    encoder: str


def opened(
    folder: Path, pictures: int, regions: int, epochs: int, budget: int, champion: Path | None
) -> tuple[Context, Real]:
    """The project of a folder, made where there is none, with what its pool is drawn around.

    Args:
        folder: of the project and of what it was made from.
        pictures: real ones, which the pool's rows share.
        regions: an image of the pool.
        epochs: of the champion's training.
        budget: boxes a cycle.
        champion: folder of a detector of the street world; None: one is trained on the seed set.
    """
    root = folder / "project"
    if not (folder / KEPT).exists():
        shutil.rmtree(root, ignore_errors=True)  # of a run that was cut off
        _make(root, epochs, budget, champion)
    context = wiring.build(Settings(project=root))
    (real,) = kept(folder / KEPT, lambda: [_real(context, pictures, regions)])
    return context, real


def _make(root: Path, epochs: int, budget: int, champion: Path | None) -> None:
    """A project with a champion and its explained failures, and no pool yet."""
    root.mkdir(parents=True)
    height, width = INPUT_HW
    told = SETTINGS.format(epochs=epochs, budget=budget, height=height, width=width)
    (root / PROJECT_FILE).write_text(told)
    context = wiring.build(Settings(project=root))
    context.project.make()
    migrate.upgrade(context.engine)
    seeds = generate(WorldConfig(holdout_share=0.05), "seed", SEED, 3)
    holdout = generate(WorldConfig(holdout_share=0.05), "holdout", HOLDOUT, 3)
    for role, scenes in ((Role.SEED, seeds), (Role.HOLDOUT, holdout)):
        folder = root.parent / f"world-{role}"
        write_coco(scenes, folder)
        import_dataset(context, folder, role)
    if champion is None:
        with context.sessions.begin() as session:
            training.request(session)
        work(context)
    else:
        importing.add(context, _smaller(champion), champion, "benchmark")
    for scene in generate(WorldConfig(), "field", FIELD, 3):
        ingest_frame(
            context, encode_png(scene.image), f"{scene.name}.png", objects=list(_objects(scene))
        )
    work(context)
    with reading(context.sessions) as session:
        model = registry.require_champion(session)
    evaluation.measured(context, model.id)
    training_sample(context, model, _embedder(context))  # kept: once in the life of a model
    context.engine.dispose()


def _embedder(context: Context) -> RegionEmbedder:
    settings = context.settings
    return builders.region_embedder(settings, builders.load_encoder(settings))


def _smaller(folder: Path) -> SsdDetector:
    """The weights of a detector on a smaller input."""
    config, tensors = checkpoint.load(folder)
    config = replace(config, input_size_hw=INPUT_HW)
    model = build(config)
    checkpoint.fill(model, tensors, str(folder))
    return SsdDetector(model, config)


def explained(context: Context) -> int:
    """Failures that a selection can use."""
    with reading(context.sessions) as session:
        query = select(func.count()).select_from(FailureRow)
        return session.scalar(query.where(FailureRow.state == FailureState.EXPLAINED)) or 0


def work(context: Context, resident: Resident | None = None) -> list[str]:
    """Do all queued units as a worker does, until none is left; their kinds."""
    resident, done = resident or Resident(), list[str]()
    while True:
        with reading(context.sessions) as session:
            query = select(Unit).where(Unit.state == UnitState.QUEUED).order_by(Unit.id).limit(1)
            unit = session.scalar(query)
        if unit is None:
            return done
        outcome = shell.run(context, resident, unit.id, "benchmark")
        if outcome != "done":
            raise RuntimeError(f"unit {unit.id} ({unit.kind}) is {outcome}")
        done.append(unit.kind)


def _objects(scene: Scene) -> Iterator[dict[str, object]]:
    for box, label in zip(scene.truth.boxes_xyxy, scene.truth.labels, strict=True):
        yield {"box": [float(value) for value in box], "label": CLASS_NAMES[int(label)]}


def _real(context: Context, pictures: int, regions: int) -> Real:
    embedder = _embedder(context)
    scenes = list(generate(WorldConfig(), "pool", pictures, 7))
    stored = [put_image(context, encode_png(scene.image)) for scene in scenes]
    found = [embedder.embed_pool([scene.image])[0] for scene in scenes]
    drawn = source(np.stack([one.vectors for one in found]))
    kept = np.linspace(0, drawn.regions - 1, regions).round().astype(int)
    return Real(
        pictures=stored,
        drawn=replace(drawn, anchors=drawn.anchors[:, kept], clusters=drawn.clusters[:, kept]),
        wholes=np.stack([one.whole for one in found]),
        boxes_xyxy=found[0].boxes_xyxy[kept],
        encoder=embedder.version,
    )


def detections_of(context: Context, real: Real) -> list[Detections]:
    """What the champion finds in each of the real pictures."""
    from services.stages.score_pool import FLOOR

    with reading(context.sessions) as session:
        folder = context.project.root / registry.require_champion(session).folder
    detector = builders.load_detector(folder, context.settings)
    found = list[Detections]()
    for picture in real.pictures:
        pixels = decode((context.project.images / picture.file).read_bytes())
        found += detector.predict([pixels], FLOOR)
    return found


def pool_size(context: Context) -> int:
    """Images of the pool."""
    with reading(context.sessions) as session:
        query = select(func.count()).select_from(Image)
        return session.scalar(query.where(Image.role == Role.POOL)) or 0
