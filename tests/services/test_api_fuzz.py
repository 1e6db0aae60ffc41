"""The API and its description agree; ``tests/services/api_fuzz_at_length.py`` asks more of it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.common.projects import make_context
from services.api.app import create_app
from tests.services.api_fuzz import TOKEN, fuzz, populate
from tests.services.api_server import serving


def test_no_request_is_a_fault_or_a_surprise(tmp_path: Path, sqlite_url: str) -> None:
    context = make_context(tmp_path / "project", sqlite_url, api={"token": TOKEN})
    populate(context, tmp_path)
    with serving(create_app(context)) as (address, _):
        status, report = fuzz(address, tmp_path, 32, 1, "--phases=coverage,fuzzing")
    context.engine.dispose()

    assert status == 0, report
