"""Logs that stay small while their processes live, and never stop one."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.common.waiting import PATIENCE
from services import log_files, logs
from services.config.setting_groups import LogSettings
from services.log_files import LOOK_EVERY, LogFile
from services.worker.children import Child, Program

SMALL = LogSettings(max_file_bytes=4096, keep_files=2, keep_days=1)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[logging.Logger]:
    """A logger whose lines go to ``name.log`` of the test's folder."""
    logger = logging.Logger("test")
    handler = LogFile(tmp_path / "name.log", SMALL)
    logger.addHandler(handler)
    yield logger
    handler.close()


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_a_log_stays_small_while_its_process_lives(log: logging.Logger, tmp_path: Path) -> None:
    for number in range(2000):
        log.warning("line %d of the log", number)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "name.log",
        "name.log.1",
        "name.log.2",
    ]
    assert size(tmp_path) < 3 * (SMALL.max_file_bytes + LOOK_EVERY * 40)
    kept = "".join((tmp_path / f"name.log{end}").read_text() for end in (".2", ".1", ""))
    numbers = [int(line.split()[1]) for line in kept.splitlines()]
    assert numbers == list(range(numbers[0], 2000))  # the newest, in order, none missing


def test_every_writer_of_one_log_goes_on_when_it_is_set_aside(tmp_path: Path) -> None:
    """A worker's pool, and what its processes print, write into one file."""
    path = tmp_path / "name.log"
    with log_files.open_private(path) as printed, log_files.open_private(path) as other:
        printed.write(b"x" * 5000)
        printed.flush()
        assert log_files.rotate(path, SMALL)
        other.write(b"other\n")
        other.flush()
        printed.write(b"printed\n")
        printed.flush()
    assert path.read_bytes() == b"other\nprinted\n"
    assert (tmp_path / "name.log.1").read_bytes() == b"x" * 5000
    assert not log_files.rotate(path, SMALL)


def test_what_a_child_prints_is_set_aside_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.worker.children.LOG_LOOK_S", 0.0)
    talk = "while True: print('a line of some length', flush=True)"
    program = Program("talker", (sys.executable, "-c", talk), lambda _pid: True)
    child = Child(program, tmp_path / "talker.log", SMALL)
    try:
        deadline = time.monotonic() + 30 * PATIENCE
        while not (tmp_path / "talker.log.2").exists():
            child.watch()
            assert time.monotonic() < deadline
        assert child.pid is not None
        assert child.restarts == 0
    finally:
        child.tell_to_stop()
        child.stop(time.monotonic() + 5 * PATIENCE)
    assert len(list(tmp_path.iterdir())) == 3


def test_logs_are_for_their_owner_only(log: logging.Logger, tmp_path: Path) -> None:
    log.warning("a secret")
    assert stat.S_IMODE((tmp_path / "name.log").stat().st_mode) == 0o600


def test_a_name_of_any_bytes_can_be_logged(log: logging.Logger, tmp_path: Path) -> None:
    log.warning("took in %s", os.fsdecode(b"caf\xe9.png"))
    assert "caf" in (tmp_path / "name.log").read_text(encoding="utf-8")


FULL = """
import logging, resource, signal, sys
from pathlib import Path
from services import logs
from services.config.setting_groups import LogSettings
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
logs.configure("full", folder=folder, settings=LogSettings(max_file_bytes=4096))
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
for number in range(1000):
    logging.error("line %d", number)
(folder / "full.log").unlink()
folder.chmod(0o500)
logging.error("no file can be made")
print("alive")
"""


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    with Path("/dev/full").open("wb") as full:  # nor can standard error be written
        done = subprocess.run(
            [sys.executable, "-c", FULL, str(folder)],
            stdout=subprocess.PIPE,
            stderr=full,
            timeout=60 * PATIENCE,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, b"alive\n")


def test_old_logs_are_deleted(tmp_path: Path) -> None:
    old = time.time() - 2 * log_files.DAY_S
    for name in ("a.log", "a.log.1", "a.log.2", "gone.log", "notes.txt"):
        (tmp_path / name).touch()
        if name != "a.log":
            os.utime(tmp_path / name, (old, old))
    assert [path.name for path in log_files.clean(tmp_path, SMALL)] == ["a.log.1", "a.log.2"]
    cleaned = log_files.clean(tmp_path, SMALL, idle_too=True)
    assert [path.name for path in cleaned] == ["gone.log"]
    assert {path.name for path in tmp_path.iterdir()} == {"a.log", "notes.txt"}


def test_configured_logs_carry_their_limits(tmp_path: Path) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        logs.configure("own", folder=tmp_path, settings=SMALL)
        for number in range(1000):
            root.error("line %d", number)
        assert (tmp_path / "own.log.1").is_file()
    finally:
        for handler in root.handlers[:]:
            root.removeHandler(handler)
            handler.close()
        for handler in before:
            root.addHandler(handler)
        root.setLevel(level)
        logging.captureWarnings(False)


def test_logs_go_to_standard_error_where_that_is_set(tmp_path: Path) -> None:
    program = (
        "import logging, pathlib, sys\n"
        "from services import logs\n"
        "from services.config.setting_groups import LogSettings\n"
        "logs.configure('relay', 'INFO', pathlib.Path(sys.argv[1]), LogSettings(to='stderr'))\n"
        "logging.getLogger('x').info('said')\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )

    assert json.loads(done.stderr)["message"] == "said"
    assert list(tmp_path.iterdir()) == []
