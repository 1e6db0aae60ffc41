"""Switches and fixtures of all tests."""

from __future__ import annotations

import inspect
import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

# Read when PyTorch loads, here and in the processes that tests start: a thread that waits for its
# peers spins, and a pass takes many times as long where something else has the peer's core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import httpx
import numpy as np
import pytest
import skimage.data
import torch

from benchmarks.common.waiting import PATIENCE
from curation.kernel.types import ImageArray

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
INTEGRATION = Path(__file__).parent / "integration"
LONG_S = 1000
"""A file of which a test may take this long is as long as those of the integration."""
SWITCHES = {
    "slow": "takes more than a minute: run with --slow",
    "gpu": "needs a CUDA device: run with --gpu",
    "whole": "is of the whole suite, as the continuous integration runs it: run with --whole",
}
REAL_SERVERS = {
    "postgres",
    "seaweed",
    "own_server",
    "label_studio_server",
    "mlflow_server",
    "browser",
    "shared_data",
}
"""Fixtures whose tests are of the whole suite: each starts a server or a browser, or reads real
data. The usual suite is what one waits for after a change: SQLite and Redis, nothing to install."""
OTHER_DATABASE = {"postgresql", "postgres_url"}
"""Parameters of tests that run once for each database."""


# Sums differ in their last bits with the number of threads, and fixtures of a module are made
# before those of a test: one thread from the start, in every process that tests.
torch.set_num_threads(1)


# Five seconds are httpx's default, one object for all that it does: too few for an answer where two
# processes start servers on the same core.
_default = inspect.signature(httpx.get).parameters["timeout"].default
_default.connect = _default.read = _default.write = _default.pool = 30 * PATIENCE


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """What a unit of work that ran in this process has set is not left to the next test."""
    yield
    torch.set_num_threads(1)


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs that tests start.

    A shell starts what runs in its background with SIGINT ignored, and so would they be.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    for name, why in SWITCHES.items():
        on = name == "whole" and bool(os.environ.get("CI"))
        parser.addoption(f"--{name}", action="store_true", default=on, help=f"also run what {why}")


def _is_of_the_whole(item: pytest.Item) -> bool:
    """Whether a test needs a real server; fixtures asked for by name are seen by the parameter."""
    fixtures = set(getattr(item, "fixturenames", ()))
    parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
    return bool(fixtures & REAL_SERVERS) or any(
        isinstance(value, str) and value in OTHER_DATABASE for value in parameters
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    longest = defaultdict[Path, float](float)
    for item in items:
        if _is_of_the_whole(item):
            item.add_marker("whole")
        own = item.get_closest_marker("timeout")
        usual = own.args[0] if own else config.getoption("timeout")
        longest[item.path] = max(longest[item.path], usual)
        if PATIENCE != 1:
            item.add_marker(pytest.mark.timeout(PATIENCE * usual), append=False)
    for name, why in SWITCHES.items():
        if not config.getoption(f"--{name}"):
            for item in items:
                if name in item.keywords:
                    item.add_marker(pytest.mark.skip(reason=why))
    # Where several processes test: the longest files first, the others fill what time is left.
    items.sort(
        key=lambda item: INTEGRATION not in item.path.parents and longest[item.path] < LONG_S
    )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """CARLA and BCCD, which lie beside the checkout and are not part of it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data is not there: {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def photo() -> ImageArray:
    """A photograph [512, 512, 3] uint8."""
    return np.ascontiguousarray(skimage.data.astronaut())
