"""A stage that costs little: the workers of a test load it by ``E2X_EXTRA_STAGES``.

It writes a file and, in the unit's own transaction, one row that nothing protects from being
written twice: only the fence does.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from services.db.tables import Audit
from services.store.project_store import store_of
from services.units import Claim
from services.units.pipeline import Stage, StageContext, Store, register

MAX_ATTEMPTS = 50


def object_of(unit_id: int) -> str:
    """Key of what a unit with ``store`` puts into the project's store."""
    return f"runs/light/{unit_id}"


class Refused(Exception):
    """An error that says that trying again is of no use."""

    code = "refused"
    retryable = False


def run(stage: StageContext, claim: Claim) -> Store:
    payload = claim.payload
    (stage.context.project.runs / f"started-{claim.unit_id}").touch()
    deadline = time.monotonic() + payload.get("seconds", 0.0)
    while time.monotonic() < deadline:
        time.sleep(0.01)
        stage.heartbeat()
    if payload.get("store"):
        store_of(stage.context).put(object_of(claim.unit_id), str(claim.unit_id).encode())
    if payload.get("grow_mb"):
        np.ones(payload["grow_mb"] << 20, np.uint8)
    if payload.get("die"):
        os.kill(os.getpid(), 9)
    if payload.get("fail") == "refused":
        raise Refused("not this one")
    if payload.get("fail") == "always":
        raise ValueError("never works")
    file = stage.context.project.runs / f"light-{claim.unit_id}"
    temporary = file.with_suffix(f".{os.getpid()}")
    temporary.write_text(str(claim.unit_id), encoding="utf-8")
    temporary.replace(file)

    def store(session: Session) -> dict[str, Any]:
        session.add(Audit(actor=claim.kind, action="light", subject=str(claim.unit_id)))
        return {"file": file.name, "pid": os.getpid()}

    return store


def register_stages() -> None:
    """Make the stages known to this process; workers do so by importing this module."""
    register(Stage("light", "explain", f"{__name__}:run", max_attempts=MAX_ATTEMPTS))
    register(Stage("light_train", "train", f"{__name__}:run"))
    register(Stage("light_twice", "explain", f"{__name__}:run", max_attempts=2))


register_stages()
