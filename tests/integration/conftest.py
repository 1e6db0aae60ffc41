"""Fixtures of the integration tests: real databases, real broker, real worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.context import Context
from services.worker.supervisor import Supervisor
from tests.service_fixtures import *  # noqa: F403

ROOT = Path(__file__).parents[2]
LIGHT = "tests.integration.light_stage"

StartServices = Callable[..., Supervisor]


@pytest.fixture
def services() -> Iterator[StartServices]:
    """Starts the processes of a project, ready to work; all are stopped after the test."""
    with ExitStack() as stack:

        def start(
            context: Context,
            workers: Mapping[str, Sequence[str]],
            extra_stages: str = LIGHT,
            api: bool = False,
        ) -> Supervisor:
            environment = {"E2X_EXTRA_STAGES": extra_stages, "PYTHONPATH": str(ROOT)}
            up = stack.enter_context(Supervisor(context, workers, api, environment))
            up.wait_ready()
            return up

        yield start
