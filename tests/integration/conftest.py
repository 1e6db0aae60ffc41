"""Fixtures of the integration tests: real databases, real broker, real worker processes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

import pytest

from benchmarks.common.processes import LIGHT, StartServices, supervisor_of
from services.context import Context
from services.worker.supervisor import Supervisor
from tests.service_fixtures import *  # noqa: F403


@pytest.fixture
def services() -> Iterator[StartServices]:
    """Starts the processes of a project, ready to work; all are stopped after the test."""
    with ExitStack() as stack:

        def start(
            context: Context,
            workers: Mapping[str, Sequence[str]] | None,
            extra_stages: str = LIGHT,
            api: bool = False,
        ) -> Supervisor:
            up = stack.enter_context(supervisor_of(context, workers, extra_stages, api))
            up.wait_ready()
            return up

        yield start
