"""One supervised process: started, watched, started again when it dies, stopped in two steps."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from services import log_files
from services.config.setting_groups import LogSettings
from services.guard import guarded

logger = logging.getLogger(__name__)

FIRST_WAIT_S = 0.2
PRESSED_S = 8.0
"""How long a worker may take to end once its units are given back."""
STEADY_S = 30.0
"""A process that lived so long has recovered: the next restart is quick again."""
LOG_LOOK_S = 5.0
"""How often the size of its log is looked at."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run.

    Attributes:
        name: of the process and of its log file.
        command: its command line.
        ready: tells from the pid whether the process does its work by now.
        environment: variables added to ours.
        grace_s: how long it may take to stop before it is pressed.
        death: the signal that the kernel sends it if we are killed.
        longest_wait_s: before it is started again, however often it has died.
        has_pool: its children are pressed first, so that they give back their units.
        mend: told the exit status of a process that ended before it was ever ready; puts right
            what a restart alone cannot.
    """

    name: str
    command: tuple[str, ...]
    ready: Callable[[int], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    grace_s: float = 5.0
    death: signal.Signals = signal.SIGKILL
    longest_wait_s: float = 15.0
    has_pool: bool = False
    mend: Callable[[int], None] | None = None


class Child:
    """A program and the process that runs it now.

    Args:
        program: what to run.
        log: its output is appended here.
        log_settings: how large that may get.
    """

    def __init__(
        self, program: Program, log: Path, log_settings: LogSettings | None = None
    ) -> None:
        self.program = program
        self.restarts = 0
        self._log, self._log_settings = log, log_settings or LogSettings()
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._wait_s = FIRST_WAIT_S
        self._not_before = 0.0
        self._was_ready = False
        self._log_look = 0.0

    @property
    def pid(self) -> int | None:
        """Of the running process; None where there is none."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the process, with its output appended to its log.

        Raises:
            OSError: there is no process to be had; a log that cannot be opened is gone without.
        """
        self._was_ready = False
        with self._output() as output:
            self._process = subprocess.Popen(
                guarded(self.program.command, self.program.death),
                env={**os.environ, **self.program.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us; we stop the others in order
            )
        self._started = time.monotonic()

    def watch(self) -> None:
        """Start the process, again if it has died: after a wait that doubles with each death.

        Raises:
            OSError: it could not be started; the next call that is due tries again.
        """
        now = time.monotonic()
        if self._process is not None:
            if self._process.poll() is None:
                self._note_readiness(self._process.pid)
                self._rotate_log(now)
                return
            if not self._not_before:
                self._note_death(now, self._process.returncode)
        if now < self._not_before:
            return
        again = self._process is not None
        if self._not_before:  # not the first try
            self._wait_s = min(self._wait_s * 2, self.program.longest_wait_s)
        self._not_before = now + self._wait_s  # holds if this one fails
        if self._process is not None:
            self._mend(self._process.returncode)
        self.start()
        self.restarts += again
        self._not_before = 0.0

    def is_ready(self) -> bool:
        """Whether it runs and does its work."""
        pid = self.pid
        return pid is not None and self.program.ready(pid)

    def tell_to_stop(self) -> None:
        """Ask the process to end what it does and stop."""
        if self.pid is not None and self._process is not None:
            self._process.terminate()

    def stop(self, deadline: float) -> None:
        """Wait until it has stopped; press it at ``deadline`` and kill it after that.

        Args:
            deadline: time on the monotonic clock.
        """
        if self._process is None:
            return
        if not self._ended(deadline - time.monotonic()) and self.program.has_pool:
            self._press()
            self._ended(PRESSED_S)
        if self._process.poll() is None:
            logger.warning("%s did not stop: killed", self.program.name)
            self._process.kill()
            self._process.wait()

    def tail(self, lines: int = 15) -> str:
        """The end of its log, for people."""
        if not self._log.is_file():
            return ""
        text = self._log.read_bytes()[-8000:].decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])

    @contextmanager
    def _output(self) -> Iterator[IO[bytes] | int]:
        """Where the process writes to: its log, or nowhere on a disk that takes no new file."""
        try:
            log = log_files.open_private(self._log)
        except OSError as error:
            logger.warning("%s runs without its log: %s", self.program.name, error)
            yield subprocess.DEVNULL
            return
        with log:
            yield log

    def _note_death(self, now: float, status: int) -> None:
        if now - self._started > STEADY_S:
            self._wait_s = FIRST_WAIT_S
        self._not_before = now + self._wait_s
        logger.warning("%s ended with %s", self.program.name, status)

    def _note_readiness(self, pid: int) -> None:
        if self.program.mend is not None and not self._was_ready:
            self._was_ready = self.program.ready(pid)

    def _mend(self, status: int) -> None:
        if self.program.mend is None or self._was_ready:
            return
        try:
            self.program.mend(status)
        except Exception as error:  # such as a full disk: it is started all the same
            logger.warning("%s could not be mended: %s", self.program.name, error)

    def _rotate_log(self, now: float) -> None:
        if now - self._log_look < LOG_LOOK_S:
            return
        self._log_look = now
        try:
            log_files.rotate(self._log, self._log_settings)
        except OSError as error:
            self._log_look = now + log_files.AGAIN_S
            logger.warning("%s cannot be set aside: %s", self._log.name, error)

    def _ended(self, timeout_s: float) -> bool:
        assert self._process is not None
        try:
            self._process.wait(max(0.0, timeout_s))
        except subprocess.TimeoutExpired:
            return False
        return True

    def _press(self) -> None:
        assert self._process is not None
        try:
            for worker in psutil.Process(self._process.pid).children():
                worker.terminate()
        except psutil.NoSuchProcess:
            return
