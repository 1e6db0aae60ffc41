"""``training.processes``: several train, one process of the service holds the lease for them."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.config.setting_groups import TrainingSettings
from services.db.tables import UnitState
from services.errors import LeaseLost
from services.models.training_process import JobFailed, run_job, together
from tests.retrain.test_processes import LONG_S, TRAIN, job_of
from tests.retrain.test_processes import project as project
from tests.services.commands import CommandLine
from tests.services.datasets_on_disk import pictures, write_coco
from tests.services.test_first_training import models, settle, train_unit

TWO = together(TrainingSettings(processes=2))


def training() -> list[psutil.Process]:
    """The processes that train below this one, without their launcher."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended since
            if "LOCAL_WORLD_SIZE" in one.environ() and "retrain" in one.cmdline():
                found.append(one)
    return found


def test_arguments_are_those_that_are_asked_for() -> None:
    assert together(TrainingSettings()) == []
    assert together(TrainingSettings(processes=0)) == ["--processes", "0"]
    hosts = TrainingSettings(processes=4, machines=2, main_address="gpu1:29500")
    assert together(hosts)[-4:] == ["--machines", "2", "--main-address", "gpu1:29500"]
    with pytest.raises(ValueError, match="needs main_address"):
        TrainingSettings(machines=2)


@pytest.mark.whole
@pytest.mark.timeout(1800)
def test_the_first_detector_is_trained_by_two(tmp_path: Path, line: CommandLine) -> None:
    settle(line)
    settings = (line.root / "e2x.toml").read_text()
    (line.root / "e2x.toml").write_text(
        settings.replace("batch_size = 4", "batch_size = 4\nprocesses = 2")
    )
    line.done("import", write_coco(tmp_path / "seed", pictures(*range(1, 5))), "--role", "seed")
    assert "model 1 is the champion" in line.done("train").out
    unit = train_unit(line)
    assert unit is not None
    assert (unit.state, unit.attempts) == (UnitState.DONE, 1)
    assert len(models(line)) == 1
    log = (line.root / "runs" / "train-first" / "log.txt").read_text()
    assert "epoch 1, step 1" in log


@pytest.mark.whole
@pytest.mark.timeout(1800)
def test_without_the_lease_none_trains_on_and_one_may_die(project: Path, tmp_path: Path) -> None:
    """Lost in the middle all of them end; taken up again one is killed: it is said, and resumes."""
    config = replace(TRAIN, epochs=6)
    job: dict[str, Any] = json.loads(job_of(tmp_path, project, config).read_text())
    job["out"] = str(tmp_path / "run")
    resume = tmp_path / "run" / "model" / "resume.pt"
    seen: list[psutil.Process] = []

    def lost(_: dict[str, Any]) -> None:
        if resume.exists():
            seen.extend(training())
            raise LeaseLost("another has it")

    with pytest.raises(LeaseLost):
        run_job("train", tmp_path / "run", job, 600.0, lost, together=TWO)
    assert len(seen) == 2
    deadline = time.monotonic() + LONG_S
    while any(one.is_running() and one.status() != "zombie" for one in seen):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not (tmp_path / "run" / "result.json").exists()

    killed: list[int] = []

    def kill(_: dict[str, Any]) -> None:
        if killed or "resumes after" not in (tmp_path / "run" / "log.txt").read_text():
            return
        for one in training():
            with suppress(psutil.NoSuchProcess):
                if one.environ()["RANK"] == "1":
                    killed.append(one.pid)
                    os.kill(one.pid, signal.SIGKILL)

    with pytest.raises(JobFailed, match="training process 1 was killed by SIGKILL") as failed:
        run_job("train", tmp_path / "run", job, 600.0, kill, together=TWO)
    assert failed.value.retryable
    result = run_job("train", tmp_path / "run", job, 600.0, lambda _: None, together=TWO)
    assert result["history"]["steps"] == 18
