"""Train a network that draws: part after part, so that no repair waits for it."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy.orm import Session

from services.db.engine import reading
from services.models.training_process import run_job
from services.store.project_store import store_of
from services.synthesis import training
from services.units import Claim, threads
from services.units.pipeline import StageContext, Store

LOOK_S = 5.0
"""Between two looks at whether anything else waits for this worker."""


class _MakeWay(Exception):
    """Something that mends the detector waits: what was learned is saved, and the rest is later."""


def run(stage: StageContext, claim: Claim) -> Store:
    """Train as ``payload`` says; what was begun on the same pictures goes on."""
    context, payload = stage.context, claim.payload
    folder = training.folder_of(context, payload)
    files = training.write_crops(context, payload, folder)
    looked_s = time.monotonic()

    def on_beat(_beat: dict[str, Any]) -> None:
        nonlocal looked_s
        stage.heartbeat()
        if time.monotonic() - looked_s < LOOK_S:
            return
        looked_s = time.monotonic()
        with reading(context.sessions) as session:
            if training.others_wait(session):
                raise _MakeWay

    try:
        with store_of(context).local_images(files, folder.name) as root:
            job = training.describe(context, payload, folder, root, threads.available(context))
            result = run_job(
                *("train", folder, job, context.settings.training.stall_s, on_beat),
                module="curation.synthesis.bridge",
            )
    except _MakeWay:
        return _later(payload)
    place = training.keep(context, folder)

    def store(session: Session) -> dict[str, Any]:
        row = training.register(session, payload, result, place)
        return {"generator": row.number, "weights": row.id, "step": row.steps}

    return store


def _later(payload: dict[str, Any]) -> Store:
    def store(session: Session) -> dict[str, Any]:
        return {"goes_on": training.enqueue(session, payload).id}

    return store
