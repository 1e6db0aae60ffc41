"""A small project of which every row has its file: what the invariants hold of."""

from __future__ import annotations

import numpy as np
import torch
from sqlalchemy.orm import Session

from benchmarks.common.projects import make_model
from curation.kernel.images import encode_png
from curation.kernel.manifest import Manifest
from retrain import checkpoint
from retrain.config import DetectorConfig
from services.context import Context
from services.db.convert import manifest_of
from services.db.tables import (
    Annotation,
    CandidateRow,
    Cycle,
    CycleState,
    DatasetVersion,
    Embedding,
    Image,
    LabelTask,
    Model,
    ModeRow,
    ModeSighting,
    Role,
    TaskState,
    Unit,
    UnitState,
)
from services.models import registry
from services.store.region_index import open_index
from services.store.storage import put_image, write_npz
from tests.services.builders import (
    make_explanation,
    make_failure,
    make_image,
)

ENCODER = "e" * 64
NAMES = ("background", "car")
WIDTH = 8


def make_whole(context: Context) -> None:
    """Fill a project: images, a model, an explained failure, an indexed pool, a cycle that labels.

    Nothing waits for a worker; the cycle waits for one of its two label tasks.
    """
    project, rng = context.project, np.random.default_rng(0)

    def stored(role: Role, number: int) -> Image:
        data = encode_png(rng.integers(0, 255, (16, 24, 3), dtype=np.uint8))
        image = put_image(context, data)
        return make_image(number, role, id=image.id, file=image.file, width_px=24, height_px=16)

    pool = sorted((stored(Role.POOL, number) for number in range(3)), key=lambda image: image.id)
    seed, frame = stored(Role.SEED, 3), stored(Role.FIELD, 4)
    with context.sessions.begin() as session:
        session.add_all([*pool, seed, frame])
        session.flush()
        session.add(Annotation(image_id=seed.id, objects=[_car()]))
        session.flush()
        manifest: Manifest = manifest_of(session, [seed], NAMES)
        file = manifest.write(project.manifests).name
        version = DatasetVersion(id=manifest.version, file=file, images=1, boxes=1)
        model = _model(context, version.id)
        session.add(version)
        session.flush()
        session.add(model)
        session.flush()
        registry.promote(session, model, "test", {})
        for unit in session.query(Unit):
            unit.state = UnitState.DONE
        failure = make_failure(1, frame, model)
        session.add(failure)
        session.flush()
        session.add(make_explanation(failure, file="ff/explained.npz", encoder_version=ENCODER))
        write_npz(project.explanations / "ff/explained.npz", values=np.ones(3))
        _index(context, pool)
        session.add_all(
            Embedding(
                image_id=image.id,
                encoder_version=ENCODER,
                file="some/batch.npz",
                row=row,
                regions=2,
                indexed=True,
            )
            for row, image in enumerate(pool)
        )
        _label(context, session, model, pool)


def _model(context: Context, dataset_id: str) -> Model:
    config = DetectorConfig("ssdlite_efficientnet_lite0", NAMES, (96, 96))
    tensors = {"weight": torch.ones(3)}
    version = checkpoint.version_of(tensors, config)
    checkpoint.save(context.project.models / "1", tensors, config, None)
    return make_model(1, id=version, folder="models/1", dataset_version_id=dataset_id)


def _index(context: Context, pool: list[Image]) -> None:
    vectors = np.random.default_rng(1).normal(size=(2 * len(pool), WIDTH)).astype(np.float16)
    boxes = np.tile(np.array([1, 1, 9, 9], np.float32), (2 * len(pool), 1))
    counts = np.full(len(pool), 2)
    write_npz(
        context.project.embeddings / "some/batch.npz",
        counts=counts,
        vectors=vectors,
        boxes=boxes,
        wholes=np.ones((len(pool), WIDTH), np.float32),
    )
    ends = np.cumsum(counts)[:-1]
    open_index(context, ENCODER, WIDTH).add(
        [image.id for image in pool],
        np.split(vectors.astype(np.float32), ends),
        np.split(boxes, ends),
    )


def _label(context: Context, session: Session, model: Model, pool: list[Image]) -> None:
    cycle = Cycle(policy="e2x", budget_boxes=9, champion_id=model.id, state=CycleState.LABELLING)
    session.add(cycle)
    session.flush()
    mode = ModeRow(name="missed car 1", family="missed", label="car", opened_cycle_id=cycle.id)
    session.add(mode)
    session.flush()
    write_npz(context.project.modes / "1/mode.npz", vectors=np.ones((1, WIDTH)))
    session.add(
        ModeSighting(
            cycle_id=cycle.id,
            mode_id=mode.id,
            key="mode",
            kind="false_negative",
            size=1,
            file="1/mode.npz",
        )
    )
    answer = Annotation(image_id=pool[0].id, objects=[_car()], cycle_id=cycle.id)
    session.add(answer)
    session.flush()
    for rank, image in enumerate(pool[:2]):
        asked = {"cycle_id": cycle.id, "image_id": image.id}
        session.add(CandidateRow(**asked, mode_id=mode.id, rank=rank, score=1.0))
        task = LabelTask(**asked)
        if rank == 0:
            task.state, task.annotation_id = TaskState.SUBMITTED, answer.id
        session.add(task)


def _car() -> dict[str, object]:
    return {"box": [1.0, 1.0, 9.0, 9.0], "label": "car", "ignore": False}
