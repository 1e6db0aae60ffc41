"""The process of a training: stalls by a clock that nobody sets, and no orphan."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.common.waiting import wait_until
from services.models import training_process
from services.models.training_process import JobFailed, run_job
from tests.integration.small_disk import fill, small_disk

MOVES = """
import json, os, sys, time
from pathlib import Path
folder, jumps = Path(sys.argv[1]), [float(value) for value in sys.argv[2:]]
for step, jump in enumerate(jumps):
    time.sleep(0.15)
    beat = {"updated_s": time.time() + jump, "step": step}
    (folder / "new").write_text(json.dumps(beat))
    os.replace(folder / "new", folder / "progress.json")
"""


def moving(folder: Path, *jumps_s: float) -> subprocess.Popen[bytes]:
    """A process whose work moves all the time, while its wall clock jumps."""
    arguments = [str(jump) for jump in jumps_s]
    return subprocess.Popen([sys.executable, "-c", MOVES, str(folder), *arguments])


@pytest.mark.parametrize("hours", [-3, 3], ids=["back", "ahead"])
def test_a_clock_that_is_set_does_not_stall_a_run(
    hours: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_process, "POLL_S", 0.02)
    jumps = [0.0] * 4 + [hours * 3600.0] * 16
    process = moving(tmp_path, *jumps)
    wait_until((tmp_path / "progress.json").is_file, 30, "it moves")
    training_process._watch(process, tmp_path, 2.0, lambda _beat: None)
    assert process.returncode == 0


def test_a_run_that_stands_still_is_stalled_whatever_its_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_process, "POLL_S", 0.02)
    (tmp_path / "progress.json").write_text(json.dumps({"updated_s": 4e9, "step": 1}))
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with pytest.raises(JobFailed, match="no progress") as stalled:
            training_process._watch(process, tmp_path, 0.3, lambda _beat: None)
        assert stalled.value.retryable
    finally:
        process.kill()
        process.wait()


PARENT = """
import sys
from pathlib import Path
from services.models import training_process
training_process.POLL_S = 0.05
training_process.run_job("train", Path(sys.argv[1]), {"wait": True}, 60.0, lambda beat: None)
"""


def test_a_run_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Also where that is killed; and no Python code runs between fork and exec."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "run")], cwd=Path(__file__).parents[2]
    )
    try:
        job = psutil.Process(parent.pid)
        wait_until(lambda: bool(job.children()), 30, "the run has started")
        child = job.children()[0]
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    wait_until(lambda: not child.is_running() or child.status() == "zombie", 30, "it has ended")


def test_damaged_words_of_a_run_are_no_words(tmp_path: Path) -> None:
    for name in ("result.json", "progress.json", "job.json"):
        (tmp_path / name).write_text('{"half')
    assert training_process.read_progress(tmp_path) is None
    with pytest.raises(JobFailed) as failed:  # it is run again, and says what this job lacks
        run_job("train", tmp_path, {}, 60.0, lambda _beat: None)
    assert failed.value.code != "job_killed"


def test_a_run_that_could_not_write_its_result_waits_for_space(tmp_path: Path) -> None:
    """It ended without a word, as one that was killed does; but a full disk uses up no tries."""
    with small_disk(tmp_path / "disk", 4) as disk:
        filler = fill(disk)
        with pytest.raises(JobFailed) as failed:
            training_process._read_result(disk, 1)
        assert failed.value.code == "disk_full"
        filler.unlink()
        with pytest.raises(JobFailed) as failed:
            training_process._read_result(disk, -9)
        assert failed.value.code == "job_killed"
