"""The API and its description agree; ``tests/services/api_fuzz_at_length.py`` asks more of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.common.projects import make_context
from services.api.app import create_app
from services.db.tables import UserRole
from tests.services.api_fuzz import TOKEN, fuzz, populate, token_for
from tests.services.api_server import serving

pytestmark = pytest.mark.whole

CASES = 80
"""One for each route, and what goes with it: the costly part, of chosen requests, is below."""


@pytest.mark.whole
def test_no_role_and_no_stranger_finds_a_fault_or_a_surprise(
    tmp_path: Path, sqlite_url: str
) -> None:
    """What is refused is described too, with its body; an admin may what the test below asks."""
    context = make_context(tmp_path / "project", sqlite_url, api={"token": TOKEN})
    populate(context, tmp_path)
    found = {}
    with serving(create_app(context)) as (address, _):
        for role in (None, UserRole.VIEWER, UserRole.LABELLER, UserRole.CURATOR):
            token = None if role is None else token_for(context, role)
            found[role] = fuzz(address, tmp_path, CASES, 1, "--phases=fuzzing", token=token)
    context.engine.dispose()

    assert {role: report for role, (status, report) in found.items() if status} == {}


def test_no_request_is_a_fault_or_a_surprise(tmp_path: Path, sqlite_url: str) -> None:
    context = make_context(tmp_path / "project", sqlite_url, api={"token": TOKEN})
    populate(context, tmp_path)
    with serving(create_app(context)) as (address, _):
        status, report = fuzz(address, tmp_path, 32, 1, "--phases=coverage,fuzzing")
    context.engine.dispose()

    assert status == 0, report
