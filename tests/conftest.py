"""Switches and fixtures of all tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from curation.types import ImageArray

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
SWITCHES = {
    "slow": "takes more than a minute: run with --slow",
    "gpu": "needs a CUDA device: run with --gpu",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    for name, why in SWITCHES.items():
        parser.addoption(f"--{name}", action="store_true", help=f"also run what {why}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for name, why in SWITCHES.items():
        if not config.getoption(f"--{name}"):
            for item in items:
                if name in item.keywords:
                    item.add_marker(pytest.mark.skip(reason=why))


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
