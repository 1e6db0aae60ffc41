"""What a project keeps from the other users of its machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.common.projects import make_project
from services.cli import doctor_files
from services.context import Context
from services.store import private
from services.worker import up_file
from services.worker.supervisor import Supervisor
from tests.services.commands import CommandLine


def open_to_others(*folders: Path) -> set[str]:
    paths = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    return {path.name for path in paths if stat.S_IMODE(path.lstat().st_mode) & 0o077}


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_init_makes_a_project_that_others_cannot_read(tmp_path: Path) -> None:
    CommandLine(tmp_path / "p").done("init", tmp_path / "p")
    state, logs = tmp_path / "p" / "state", tmp_path / "p" / "logs"
    assert {"e2x.db", "api-token"} <= {path.name for path in state.iterdir()}
    assert open_to_others(state, logs) == set()
    assert stat.S_IMODE((tmp_path / "p" / "e2x.toml").stat().st_mode) == 0o644  # the person's own


def test_an_open_project_is_seen_and_mended(sqlite_context: Context) -> None:
    project = sqlite_context.project
    database = Path(str(sqlite_context.engine.url.database))
    for path in (project.state, project.logs):
        path.chmod(0o755)
    for path in (project.state / "api-token", project.logs / "api.log", database):
        path.touch()
        path.chmod(0o644)
    (finding,) = [one for one in doctor_files.examine(sqlite_context) if one.what == "private"]
    assert finding.state == "warn"
    assert finding.found.startswith("5 files")

    Supervisor(sqlite_context, {}, api=False)._tidy()

    assert open_to_others(project.state, project.logs) == set()
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    assert all(one.state == "ok" for one in doctor_files.examine(sqlite_context))


def test_a_command_that_asks_what_runs_leaves_nothing_open(sqlite_context: Context) -> None:
    private.close(sqlite_context.project)

    assert up_file.running(sqlite_context.project) is None

    assert (sqlite_context.project.state / "up.lock").is_file()
    assert open_to_others(sqlite_context.project.state) == set()


def test_a_link_out_of_the_project_is_not_followed(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    outside = tmp_path / "outside"
    outside.touch(mode=0o644)
    (project.state / "link").symlink_to(outside)
    private.close(project)
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644
