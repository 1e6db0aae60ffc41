"""Half files of processes that were killed: gone, while those of living ones stay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.common.waiting import PATIENCE
from curation.kernel import files
from services.config.settings import Settings
from services.context import Context
from services.units.resident import Resident
from services.upkeep import sweep
from services.worker import lifecycle, tasks
from services.worker.idle import Idle

KILLED = """
import os, signal, sys
from pathlib import Path
from curation.kernel.files import write_atomically
def write(file):
    file.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
write_atomically(Path(sys.argv[1]), write)
"""
OLD_S = sweep.YOUNG_S + 10


def leave_half_a_file(target: Path) -> Path:
    """What a killed process leaves beside a file that it was writing."""
    before = set(target.parent.glob(".*")) if target.parent.is_dir() else set()
    subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False, timeout=60 * PATIENCE)
    (left,) = set(target.parent.glob(".*")) - before
    return left


def age(path: Path, seconds: float) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def test_a_killed_writer_leaves_a_file_that_is_swept_everywhere(
    sqlite_context: Context, tmp_path: Path
) -> None:
    project = sqlite_context.project
    watched = tmp_path / "inbox"
    settings = Settings(project=project.root, ingest={"watch_folder": watched})
    context = Context(settings, project, sqlite_context.engine, sqlite_context.sessions)
    left = []
    for folder in (*project.folders(), project.models / "1", watched / "rejected"):
        folder.mkdir(parents=True, exist_ok=True)
        dead = leave_half_a_file(project.state / "any")
        left.append(age(dead.rename(folder / dead.name), OLD_S))
    whole = project.images / "whole"
    whole.write_bytes(b"whole")
    assert set(sweep.sweep(context)) == set(left)
    assert not any(path.exists() for path in left)
    assert whole.exists()


def test_only_what_is_old_and_whose_writer_is_dead_goes(
    sqlite_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = sqlite_context.project.images
    young = leave_half_a_file(images / "young")
    mine = files.temporary_beside(images / "mine")
    mine.touch()
    elsewhere = images / f".e2x-{'0' * 8}-1-{'a' * 12}.tmp"
    elsewhere.touch()
    age(elsewhere, OLD_S)
    assert sweep.sweep(sqlite_context) == []
    age(elsewhere, sweep.UNKNOWN_S + 10)
    assert sweep.sweep(sqlite_context) == [elsewhere]
    monkeypatch.setattr(sweep, "YOUNG_S", -1.0)
    assert sweep.sweep(sqlite_context) == [young]
    assert mine.exists()


def test_a_number_that_another_process_has_by_now_says_nothing(sqlite_context: Context) -> None:
    """In a container that was started anew the same numbers come again."""
    mine = files.temporary_beside(sqlite_context.project.models / "model")
    mine.mkdir()
    (mine / "weights").write_bytes(b"half")
    age(mine, time.time() - 1e9)  # longer ago than this process lives
    assert sweep.sweep(sqlite_context) == [mine]
    assert not mine.exists()


@pytest.mark.parametrize("name", [".model.safetensors.k3j_2hx8", ".api-token.4711"])
def test_files_of_earlier_versions_go_after_a_day(name: str, sqlite_context: Context) -> None:
    file = sqlite_context.project.state / name
    file.touch()
    age(file, sweep.UNKNOWN_S - 60)
    assert sweep.sweep(sqlite_context) == []
    age(file, sweep.UNKNOWN_S + 60)
    assert sweep.sweep(sqlite_context) == [file]


def test_a_name_of_any_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    files.write_bytes(path, b"whole")
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_housekeeping_sweeps_and_cleans_logs(
    sqlite_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = sqlite_context.project
    own = lifecycle.Own(sqlite_context, Resident(), "me", Idle(), os.getpid())
    monkeypatch.setattr(lifecycle, "_own", own)
    monkeypatch.setattr(sweep, "_last_s", None)
    half = age(leave_half_a_file(project.embeddings / "half"), OLD_S)
    log = project.logs / "api.log.1"
    log.touch()
    age(log, 31 * 86_400)
    tasks.housekeeping()
    assert not half.exists()
    assert not log.exists()
    again = age(leave_half_a_file(project.embeddings / "half"), OLD_S)
    tasks.housekeeping()  # a large store is not looked through every few minutes
    assert again.exists()
