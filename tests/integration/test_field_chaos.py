"""Field frames and label answers through real workers while anything may die at any moment."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import func, select

from benchmarks.common.kills import Chaos
from benchmarks.common.processes import StartServices
from benchmarks.common.projects import QUICK_WORKERS, make_context, make_model
from benchmarks.common.waiting import PATIENCE, wait_until
from curation.kernel.images import encode_jpeg
from retrain.config import DetectorConfig
from retrain.detector import SsdDetector
from services.api.auth import project_token
from services.context import Context
from services.db.engine import reading
from services.db.tables import (
    TERMINAL,
    Annotation,
    Explanation,
    FailureRow,
    LabelTask,
    TaskState,
    Unit,
    UnitState,
)
from services.intake.frames import ingest_frame
from services.models import registry
from tests.retrain.conftest import warmed
from tests.services.builders import make_image

pytestmark = pytest.mark.whole

FRAMES, TASKS, KILLS = 200, 20, 7
SIZE_HW = (64, 96)
WORKERS = {"explain": ("explain",), "extra": ("explain",), "default": ("default",)}
SETTINGS: dict[str, Any] = {
    "workers": {**QUICK_WORKERS, "lease_s": 6.0, "max_attempts": 20, "max_lost": 20, "threads": 1},
    "explanation": {"num_samples": 4, "num_segments": 16, "max_failures_per_image": 1},
    "selection": {"encoder_height_px": 64, "encoder_width_px": 96},
    "api": {"port": 0},
}


@pytest.fixture
def project(tmp_path: Path, sqlite_url: str) -> Context:
    """A project with a champion, 200 reported frames and 20 label tasks."""
    context = make_context(tmp_path / "p", sqlite_url, **SETTINGS)
    config = DetectorConfig(
        "ssdlite_efficientnet_lite0", ("background", "car"), SIZE_HW, min_scale=0.15
    )
    SsdDetector(warmed(config, "package"), config).save(context.project.models / "1")
    rng = np.random.default_rng(0)
    with context.sessions.begin() as session:
        model = make_model(1)
        session.add(model)
        session.flush()
        registry.promote(session, model, "test", {})
        for number in range(TASKS):
            session.add(image := make_image(number))
            session.flush()
            session.add(LabelTask(image_id=image.id))
    for number in range(FRAMES):
        pixels = rng.integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8)
        truth = [{"box": [8, 8, 40, 40], "label": "car"}]
        ingest_frame(context, encode_jpeg(pixels), f"{number}.jpg", objects=truth)
    return context


@pytest.mark.timeout(400)
def test_nothing_is_lost_and_nothing_is_done_twice(
    project: Context, services: StartServices
) -> None:
    up = services(project, WORKERS, api=True)
    targets = ("child", "worker-explain", "worker-extra", "redis", "relay", "api")
    # Settled: else the API of a slow machine may die each time before it answers anything.
    with Chaos(up, project, 5, 4.0, targets, settled_s=30 * PATIENCE) as chaos:
        _answer_all_twice(str(up.api_url), project_token(project))
        wait_until(lambda: sum(chaos.kills.values()) >= KILLS or _ended(project), 200, "kills")
    wait_until(lambda: _ended(project), 200, "every unit ended")
    assert sum(chaos.kills.values()) >= 6, chaos.kills
    with reading(project.sessions) as session:
        kinds = session.execute(
            select(Unit.kind, Unit.state, func.count()).group_by(Unit.kind, Unit.state)
        ).all()
        failures = session.scalars(select(FailureRow.id)).all()
        explained = Counter(session.scalars(select(Explanation.failure_id)))
        labels = Counter(session.scalars(select(Annotation.author)))
        answered = Counter(session.scalars(select(LabelTask.state)))
        revisions = session.scalar(
            select(func.max(Annotation.revision)).where(Annotation.author == "tool")
        )
    counts = {(kind, state): number for kind, state, number in kinds}
    assert counts[("scan", UnitState.DONE)] == FRAMES
    assert {state for _, state in counts} == {UnitState.DONE}
    assert failures
    assert set(explained.values()) == {1}
    assert labels["tool"] == TASKS
    assert (answered, revisions) == ({TaskState.SUBMITTED: TASKS}, 1)


def _ended(context: Context) -> bool:
    with reading(context.sessions) as session:
        waiting = session.scalar(select(func.count()).where(Unit.state.not_in(TERMINAL)))
    return waiting == 0


def _answer_all_twice(url: str, token: str) -> None:
    """Label as a careful client does: send again until it is answered, and once more."""
    headers = {"Authorization": f"Bearer {token}"}
    body = {"objects": [{"box": [1, 1, 20, 20], "label": "car"}], "author": "tool"}
    deadline = time.monotonic() + 150 * PATIENCE
    with httpx.Client(base_url=url, headers=headers, timeout=10) as client:
        while not _all_submitted(client):
            assert time.monotonic() < deadline, "tasks were left"
            # A lease whose answer got lost is had again when it has run out.
            wish = {"owner": "tool", "count": 5, "lease_s": 4.0}
            for task in _retried(client, "POST", "/v1/tasks/lease", wish).json()["items"]:
                path = f"/v1/tasks/{task['id']}/submit"
                for _ in range(2):
                    answer = _retried(client, "POST", path, {**body, "token": task["token"]})
                    assert answer.status_code in (200, 409), answer.text  # 409: the lease ran out
            time.sleep(0.1)


def _all_submitted(client: httpx.Client) -> bool:
    page = _retried(client, "GET", "/v1/tasks").json()["items"]
    return all(task["state"] == TaskState.SUBMITTED for task in page)


def _retried(
    client: httpx.Client, method: str, path: str, body: dict[str, Any] | None = None
) -> httpx.Response:
    deadline = time.monotonic() + 60 * PATIENCE
    while True:
        try:
            response = client.request(method, path, json=body)
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
            continue
        assert response.status_code < 500, response.text
        return response
