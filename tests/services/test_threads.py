"""How many threads a unit computes with, and how they wait."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from services import units
from services.context import Context
from services.db.tables import Unit, UnitState
from services.units import threads
from tests.services.together import LEASE_S, Work, ask


def test_processes_of_this_host_share_its_cores(
    context: Context, set_work: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process with many claims computes one of them, and another host has cores of its own."""
    monkeypatch.setattr(threads, "cores", lambda: 8)
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    ids = ask(context, 12)
    with context.sessions.begin() as session:
        units.claim_all(session, ids[:6], "here:1", LEASE_S)
        units.claim_all(session, ids[6:9], "elsewhere:1", LEASE_S)
    assert threads.available(context) == 8
    with context.sessions.begin() as session:
        units.claim_all(session, ids[9:], "here:2", LEASE_S)
        assert session.scalar(select(func.count()).where(Unit.state == UnitState.LEASED)) == 12
    assert threads.available(context) == 4


def test_threads_of_a_command_sleep_while_they_wait() -> None:
    """OpenMP reads the variable when PyTorch loads, so that it is there before any command runs."""
    script = """
import os, sys
from services.cli import main
assert "torch" not in sys.modules
sys.argv = ["e2x", "--version"]
try:
    main()
finally:
    print(os.environ["OMP_WAIT_POLICY"])
"""
    for given, wanted in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        others = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**others, **given},
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout.splitlines()[-1] == wanted
