"""Training a network that draws, on the project's own pictures: asked for, described, kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation.kernel.manifest import Manifest
from services import units
from services.config import builders
from services.context import Context
from services.db.engine import reading
from services.db.tables import TERMINAL, GeneratorRow, Image, Model, Role, Unit, UnitState
from services.errors import Conflict, InvalidRequest
from services.models import registry
from services.models.training_process import read_progress
from services.store import model_folders
from services.store.storage import write_bytes
from services.synthesis.scope import may_give, taught_with

KIND = "train_generator"
NAME = "bridge"
MOST_CROPS = 4000
"""Windows; each keeps about 40 KB in memory."""
STEPS = 20_000
SAVE_EVERY = 100
"""Steps: what a killed training does anew is two minutes on a slow core."""
LATER = -1
"""Priority: whatever mends the detector goes first."""


def request(
    session: Session,
    steps: int = STEPS,
    minutes: float | None = None,
    size: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> Unit:
    """Ask for a training, or for more of one that was begun on the same pictures.

    Args:
        session: the caller's transaction.
        steps: in all.
        minutes: of training in all, at most; None: until all steps are done.
        size: of the network, where it is not the usual one.
        recipe: likewise.

    Raises:
        InvalidRequest: neither steps nor minutes are above 0.
        GeneratorUnusable: packages are missing.
        Conflict: one is being trained already, or there is no champion.
    """
    from curation.synthesis.packages import require_packages

    if steps < 1 or (minutes is not None and minutes <= 0):
        raise InvalidRequest("name 1 step at least, and more than 0 minutes")
    require_packages("diffusers")
    champion = registry.require_champion(session)
    running = select(Unit).where(Unit.kind == KIND, Unit.state.not_in(TERMINAL)).limit(1)
    unit = session.scalar(running.with_for_update())
    if unit is not None:
        raise Conflict(
            f"a network is being trained to draw (unit {unit.id}): `e2x units show {unit.id}` "
            "says how far it is"
        )
    payload = {
        "model": champion.id,
        "steps": steps,
        "seconds": None if minutes is None else 60 * minutes,
        "size": dict(size or {}),
        "recipe": {"save_every": SAVE_EVERY, **(recipe or {})},
    }
    return enqueue(session, payload)


def enqueue(session: Session, payload: Mapping[str, Any]) -> Unit:
    """The next part of a training; parts are counted over all trainings."""
    count = session.scalar(select(func.count()).where(Unit.kind == KIND)) or 0
    return units.enqueue(session, KIND, f"{KIND}:{count}", dict(payload), priority=LATER)


def others_wait(session: Session) -> bool:
    """Whether anything else waits for the worker that trains: a repair goes before a nicety."""
    from services.db.base import utc_now

    query = select(Unit.id).where(
        Unit.queue == "train",
        Unit.kind != KIND,
        Unit.state == UnitState.QUEUED,
        Unit.not_before <= utc_now(),
    )
    return session.scalar(query.limit(1)) is not None


def folder_of(context: Context, payload: Mapping[str, Any]) -> Path:
    """Of a training: the same for the same pictures, encoder, size and recipe, however long."""
    with reading(context.sessions) as session:
        model = session.get_one(Model, payload["model"])
    told = [
        model.dataset_version_id or model.id,
        _encoder(context),
        payload["size"],
        {key: value for key, value in payload["recipe"].items() if key != "save_every"},
    ]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return context.project.runs / f"{NAME}-{digest[:12]}"


def beat_of(context: Context, payload: Mapping[str, Any]) -> dict[str, Any] | None:
    """How far a training is; None before it begins."""
    return read_progress(folder_of(context, payload))


def describe(
    context: Context, payload: Mapping[str, Any], folder: Path, root: Path, threads: int
) -> dict[str, Any]:
    """The job of :mod:`curation.synthesis.bridge.job`.

    Args:
        context: wiring.
        payload: of the unit.
        folder: of the training; what it sees is written there once, and stays the same.
        root: below which the pictures are.
        threads: to compute with.
    """
    with reading(context.sessions) as session:
        names = session.get_one(Model, payload["model"]).class_names
    return {
        "out": str(folder),
        "crops": str(folder / "crops.jsonl"),
        "image_root": str(root),
        "limits": asdict(builders.image_limits(context.settings)),
        "encoder": _encoder(context),
        "num_classes": len(names),
        "size": payload["size"],
        "recipe": {**payload["recipe"], "steps": payload["steps"]},
        "seconds": payload["seconds"],
        "device": builders.device_name(context.settings),
        "num_threads": threads,
    }


def write_crops(context: Context, payload: Mapping[str, Any], folder: Path) -> list[str]:
    """What a training sees, chosen once; files of the store that it needs.

    Objects that the champion was taught, and as many pictures of the pool without; none of what
    judges, and nothing that was drawn.
    """
    file = folder / "crops.jsonl"
    if not file.is_file():
        with reading(context.sessions) as session:
            model = session.get_one(Model, payload["model"])
        manifest = taught_with(context, model)
        with reading(context.sessions) as session:
            rows = list(_crops(session, manifest, model.class_names))
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(file, "".join(json.dumps(row) + "\n" for row in rows).encode())
    lines = file.read_text(encoding="utf-8").splitlines()
    return sorted({json.loads(line)["file"] for line in lines})


def _crops(session: Session, manifest: Manifest, names: list[str]) -> Iterator[dict[str, Any]]:
    items = [item for item in manifest.items if not item.generated]
    roles = may_give(session, items)
    given = 0
    rng = np.random.default_rng(0)
    for row in rng.permutation(len(items)):
        item = items[row]
        if item.image not in roles:
            continue
        for box, label, ignored in zip(item.boxes_xyxy, item.labels, item.ignore, strict=True):
            if not ignored and label in names and given < MOST_CROPS // 2:
                given += 1
                told = {"image": item.image, "file": item.file}
                yield {**told, "box": list(box), "label": names.index(label)}
    pool = select(Image.id, Image.file).where(Image.role == Role.POOL).order_by(Image.id)
    for image, file in session.execute(pool.limit(max(1, given))):
        yield {"image": image, "file": file, "box": None, "label": 0}


def keep(context: Context, folder: Path) -> str:
    """Put what draws into the store; the place, relative to the project."""
    from curation.synthesis.bridge import checkpoint

    weights = checkpoint.digest(folder)
    write = partial(checkpoint.export, folder)
    return model_folders.keep(context, weights, write, place="generators")


def register(
    session: Session, payload: Mapping[str, Any], result: Mapping[str, Any], folder: str
) -> GeneratorRow:
    """Enter a trained network; twice is once."""
    known = session.get(GeneratorRow, result["weights"])
    if known is not None:
        return known
    number = (session.scalar(select(func.max(GeneratorRow.number))) or 0) + 1
    model = session.get_one(Model, payload["model"])
    row = GeneratorRow(
        id=result["weights"],
        number=number,
        name=NAME,
        folder=folder,
        dataset_version_id=model.dataset_version_id,
        class_names=model.class_names,
        steps=result["step"],
        training={
            **{key: result[key] for key in ("loss", "seconds", "windows", "encoder", "unreadable")},
            "size": payload["size"],
            "recipe": {**payload["recipe"], "steps": payload["steps"]},
        },
    )
    session.add(row)
    session.flush()
    return row


def _encoder(context: Context) -> dict[str, Any]:
    wanted = context.settings.selection
    return {
        "name": wanted.encoder,
        "input_size_hw": [wanted.encoder_height_px, wanted.encoder_width_px],
        "weights": str(wanted.encoder_weights),
        "device": builders.device_name(context.settings),
    }
