"""Two hosts with folders of their own: one database, one broker, one bucket, and a whole cycle.

The second host has nothing but settings. In the middle of a training it stops for longer than its
lease, and comes back when the first has gone on in its place.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from benchmarks.common.buckets import Seaweed
from benchmarks.common.processes import ROOT, stop, supervisor_of
from benchmarks.common.projects import QUICK_WORKERS, make_context
from benchmarks.common.waiting import wait_until
from services.context import Context
from services.cycle import cycles
from services.db.engine import reading
from services.db.tables import (
    Cycle,
    CycleState,
    Embedding,
    FailureRow,
    FailureState,
    Role,
    Unit,
    UnitState,
)
from services.intake.frames import ingest_frame
from services.intake.imports import import_dataset
from services.labeling import queue
from services.models import registry, training
from services.store.project_store import store_of
from services.upkeep import invariants
from services.worker import redis_server
from services.worker.environment import environment_of
from tests import bad_images
from tests.services.datasets_on_disk import pictures, write_coco

LONG_S = 900
"""On a machine that does much else."""
Answer = TypeVar("Answer")
SETTINGS = {
    "seed": 3,
    "detector": {"weights": "random", "input_height_px": 64, "input_width_px": 64},
    "training": {"epochs": 8, "finetune_epochs": 2, "batch_size": 4},
    "explanation": {"num_samples": 16, "max_failures_per_image": 1, "min_recall": 0.0},
    "selection": {"encoder_height_px": 64, "encoder_width_px": 96, "batch_images": 3},
    "workers": {**QUICK_WORKERS, "lease_s": 20.0, "threads": 1},
}


@pytest.fixture
def one(tmp_path: Path, postgres_url: str, seaweed: Seaweed) -> Iterator[Context]:
    """The host that has the project, on a database and a bucket."""
    wired = make_context(
        tmp_path / "one", postgres_url, **SETTINGS, storage=seaweed.settings(patience_s=10.0)
    )
    yield wired
    wired.engine.dispose()


def asked(context: Context, ask: Callable[[Session], Answer]) -> Answer:
    with reading(context.sessions) as session:
        return ask(session)


@contextmanager
def second_host(context: Context, folder: Path, queues: str) -> Iterator[subprocess.Popen[bytes]]:
    """``e2x worker`` with an empty folder and variables alone."""
    variables = {
        **os.environ,
        **environment_of(context.settings),
        "E2X_BROKER_URL": redis_server.broker_url(context.settings, context.project),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "services.cli", "--project", str(folder), "worker"]
    process = subprocess.Popen([*command, f"--queues={queues}"], cwd=folder.parent, env=variables)
    try:
        yield process
    finally:
        for one in (process.pid, *(child.pid for child in below(process))):
            os.kill(one, signal.SIGCONT)
        stop(process)


def below(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.timeout(3600)
def test_a_whole_cycle_runs_on_two_hosts_that_share_no_file(one: Context, tmp_path: Path) -> None:
    two = tmp_path / "two"
    import_dataset(one, write_coco(tmp_path / "seed", pictures(*range(6))), Role.SEED)
    import_dataset(one, write_coco(tmp_path / "hold", pictures(*range(10, 13))), Role.HOLDOUT)
    with supervisor_of(one, {"default": ("default", "explain")}, "") as up:
        up.wait_ready()
        with second_host(one, two, "train,embed,index") as process:
            with one.sessions.begin() as session:
                training.request(session)
            note = "runs/train-first/checkpoint.json"

            def sent() -> bool:
                store = store_of(one)
                return store.exists(note) and b".pt" in store.objects.get(note)[0]

            wait_until(sent, LONG_S, "the second host has sent a checkpoint")
            stopped = [process.pid, *(child.pid for child in below(process))]
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            with second_host(one, tmp_path / "three", "train"):
                champion = registry.champion
                wait_until(lambda: asked(one, champion) is not None, LONG_S, "another trains on")
                log = tmp_path / "three/runs/train-first/log.txt"
                assert "resumes after epoch" in log.read_text()
                ended_at = store_of(one).objects.get(note)[0]
                for pid in stopped:
                    os.kill(pid, signal.SIGCONT)
            said = two / "logs"
            wait_until(lambda: late(said), LONG_S, "the one that was cut off is refused")
            assert store_of(one).objects.get(note)[0] == ended_at
            assert len(asked(one, registry.models)) == 1

            import_dataset(one, write_pool(tmp_path / "pool"), Role.POOL)
            ingest_frame(
                one,
                bad_images.png(40),
                "frame.png",
                objects=[{"box": [2, 3, 12, 11], "label": "car"}],
            )

            def explained(session: Session) -> bool:
                states = set(session.scalars(select(FailureRow.state)))
                indexed = session.scalars(select(Embedding.indexed)).all()
                return FailureState.EXPLAINED in states and indexed == [True] * 6

            wait_until(lambda: asked(one, explained), LONG_S, "explained, and the pool is indexed")
            with one.sessions.begin() as session:
                cycle = cycles.start(session, one, policy="e2x", budget_boxes=4).id

            def state() -> str:
                return asked(one, lambda session: session.get_one(Cycle, cycle).state)

            wait_until(lambda: state() == CycleState.LABELLING, LONG_S, "it asks for labels")
            answer = [{"box": [2, 3, 12, 11], "label": "car"}]
            with one.sessions.begin() as session:
                for task in queue.lease(session, "anna", 100, 60.0, cycle):
                    queue.submit(session, one, task.id, task.token, answer, "anna")
            ended = (CycleState.DONE, CycleState.FAILED)
            wait_until(lambda: state() in ended, LONG_S, "the cycle ends")
            assert state() == CycleState.DONE

            def settled(session: Session) -> bool:
                open_ = (UnitState.QUEUED, UnitState.LEASED)
                return not session.scalars(select(Unit.id).where(Unit.state.in_(open_))).all()

            wait_until(lambda: asked(one, settled), LONG_S, "nothing is left to do")
    for host in (one.project.root, two):
        for name in ("images", "models", "manifests", "explanations", "embeddings"):
            assert [path for path in (host / name).rglob("*") if path.is_file()] == []
    assert invariants.check(one) == []


def late(logs: Path) -> bool:
    """Whether a worker has been told that its lease is another's."""
    return any("dropped: " in path.read_text() for path in logs.glob("*.log"))


def write_pool(folder: Path) -> Path:
    folder.mkdir()
    for name, data in pictures(*range(20, 26)).items():
        (folder / name).write_bytes(data)
    return folder
