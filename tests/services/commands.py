"""Running ``e2x`` in this process, for tests."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services import context as wiring
from services.cli import make_app
from services.config.settings import Settings, get_settings
from services.context import Context
from tests.services.builders import add_champion, add_holdout_image


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON, which must be all that is in it."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The command line in one project."""

    root: Path

    def run(self, *arguments: str | Path) -> Ran:
        """Run a command, whatever comes of it."""
        with _logs_as_they_were():
            result = CliRunner().invoke(
                make_app(),
                [str(argument) for argument in arguments],
                env={"E2X_PROJECT": str(self.root), "COLUMNS": "200", "NO_COLOR": "1"},
            )
        get_settings.cache_clear()
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    def done(self, *arguments: str | Path) -> Ran:
        """Run a command that must succeed."""
        ran = self.run(*arguments)
        assert ran.code == 0, ran.err + ran.out
        return ran

    def refused(self, *arguments: str | Path, code: int = 2) -> str:
        """Run a command that must fail with one line; the line."""
        ran = self.run(*arguments)
        assert ran.code == code, ran.err + ran.out
        lines = [line for line in ran.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, ran.err
        assert "Traceback" not in ran.err
        return lines[0]

    @contextmanager
    def opened(self) -> Iterator[Context]:
        """The wiring of the project, for a look at its rows."""
        context = wiring.build(Settings(project=self.root))
        try:
            yield context
        finally:
            context.engine.dispose()


@contextmanager
def _logs_as_they_were() -> Iterator[None]:
    """A command sets up logs for its process, which here is the process of all tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)


@pytest.fixture
def line(tmp_path: Path) -> CommandLine:
    """A command line in a new project."""
    made = CommandLine(tmp_path / "project")
    made.done("init", made.root)
    return made


@pytest.fixture
def champion(line: CommandLine) -> CommandLine:
    """A command line in a project with a champion, which knows cars, and a holdout."""
    with line.opened() as context, context.sessions.begin() as session:
        add_champion(session)
        add_holdout_image(session)
    return line
