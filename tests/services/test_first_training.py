"""``e2x train``: one trains, the others are told; what was killed, stopped or failed goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from benchmarks.common.waiting import PATIENCE, wait_until
from services import units
from services.db.base import utc_now
from services.db.tables import Model, Unit, UnitState
from services.models import training
from tests.services.commands import CommandLine
from tests.services.datasets_on_disk import pictures, write_coco

ROOT = Path(__file__).parents[2]
SETTINGS = """[detector]
weights = "random"
input_height_px = 64
input_width_px = 64
[training]
epochs = {epochs}
batch_size = 4
[workers]
threads = 1
lease_s = {lease_s}
"""


@pytest.fixture
def seeded(line: CommandLine, tmp_path: Path) -> CommandLine:
    """A project with four labelled images, whose first training takes a second."""
    settle(line)
    line.done("import", write_coco(tmp_path / "seed", pictures(*range(1, 5))), "--role", "seed")
    return line


def settle(line: CommandLine, epochs: int = 1, lease_s: float = 60.0) -> None:
    (line.root / "e2x.toml").write_text(SETTINGS.format(epochs=epochs, lease_s=lease_s))


def train_unit(line: CommandLine) -> Unit | None:
    with line.opened() as context, context.sessions() as session:
        return session.scalar(select(Unit).where(Unit.key == training.FIRST_KEY))


def models(line: CommandLine) -> list[Model]:
    with line.opened() as context, context.sessions() as session:
        return list(session.scalars(select(Model)))


def claimed_by_another(line: CommandLine, lease_s: float) -> int:
    with line.opened() as context, context.sessions.begin() as session:
        unit = training.request(session)
        assert units.claim(session, unit.id, "gpu7:41", 1.0) is not None
        unit.lease_until = utc_now() + timedelta(seconds=lease_s)
        return unit.id


def test_what_a_worker_trains_nobody_trains_beside_it(seeded: CommandLine) -> None:
    number = claimed_by_another(seeded, 50)  # a longer one than is set would be void
    said = seeded.refused("train")
    assert "already, by gpu7:41" in said
    assert f"e2x units show {number}" in said
    assert models(seeded) == []
    assert not list((seeded.root / "runs").glob("*"))


def test_what_a_dead_worker_left_is_taken_over_and_marked_done(seeded: CommandLine) -> None:
    claimed_by_another(seeded, -1)
    assert "model 1 is the champion" in seeded.done("train").out
    unit = train_unit(seeded)
    assert unit is not None
    [model] = models(seeded)
    assert (unit.state, unit.result) == (
        UnitState.DONE,
        {"model": model.id, "number": 1, "unreadable": 0},
    )


def test_a_training_that_failed_is_parked_with_its_reason_and_can_be_tried_again(
    seeded: CommandLine,
) -> None:
    settings = (seeded.root / "e2x.toml").read_text()
    (seeded.root / "e2x.toml").write_text(settings.replace('"random"', '"none.pth"'))
    assert "none.pth: no such file" in seeded.refused("train", code=1)
    unit = train_unit(seeded)
    assert unit is not None
    assert (unit.state, unit.error_code) == (UnitState.DEAD, "checkpoint_corrupt")
    assert "none.pth" in (unit.error or "")
    settle(seeded)
    assert "model 1 is the champion" in seeded.done("train").out


def started(line: CommandLine) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", "train"],
        env={**os.environ, "E2X_PROJECT": str(line.root), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def trains(line: CommandLine) -> bool:
    return (line.root / "runs" / "train-first" / "model" / "resume.pt").is_file()


def test_of_two_at_once_one_trains_and_a_killed_one_is_taken_over(seeded: CommandLine) -> None:
    settle(seeded, epochs=1000, lease_s=4 * PATIENCE)
    first = started(seeded)
    try:
        wait_until(lambda: trains(seeded), 120, "the first trains")
        unit = train_unit(seeded)
        assert unit is not None
        assert (unit.owner or "").endswith(f":{first.pid}")
        assert "trained already" in seeded.refused("train")
        with seeded.opened() as context, context.sessions.begin() as session:
            assert units.claim(session, unit.id, "a worker", 9) is None
    finally:
        first.kill()  # no chance to give anything back
        first.communicate()
    settle(seeded, epochs=1, lease_s=4 * PATIENCE)
    deadline = time.monotonic() + 60 * PATIENCE
    ran = seeded.run("train")
    while ran.code != 0 and time.monotonic() < deadline:
        assert "its lease has run out" in ran.err
        ran = seeded.run("train")
    assert "model 1 is the champion" in ran.out
    assert len(models(seeded)) == 1


def test_stopped_by_hand_it_waits_for_the_hand(seeded: CommandLine) -> None:
    settle(seeded, epochs=1000)
    process = started(seeded)
    try:
        wait_until(lambda: trains(seeded), 120, "it trains")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120 * PATIENCE)
    finally:
        process.kill()
        process.communicate()
    unit = train_unit(seeded)
    assert unit is not None
    assert (unit.state, unit.error_code, unit.owner) == (UnitState.DEAD, "stopped", None)
    with seeded.opened() as context, context.sessions.begin() as session:
        assert training.request(session).state == UnitState.QUEUED
