"""Progress is seen on a terminal, and in the log of a job that has none."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from benchmarks.common.waiting import PATIENCE
from services.cli import follow


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "LINE_S", 0.01)


def shown(console: Console, out: io.StringIO) -> str:
    """Two steps of a bar, each after lines could be told; what was written before its end."""
    with follow.progress(console) as bars:
        task = bars.add_task("cycle 1: explaining", total=3, note="16 inputs")
        for step in (1, 2):
            bars.update(task, completed=step)
            deadline = time.monotonic() + 5 * PATIENCE
            while f": {step}/3" not in out.getvalue() and time.monotonic() < deadline:
                if console.is_terminal:
                    break
                time.sleep(0.01)
        return out.getvalue()


def test_a_log_gets_a_line_when_a_bar_has_moved() -> None:
    out = io.StringIO()
    told = shown(Console(file=out, width=100), out)
    assert "cycle 1: explaining: 1/3 16 inputs\n" in told
    assert "cycle 1: explaining: 2/3 16 inputs\n" in told
    assert told.count(": 1/3") == 1  # not again before it moves
    assert "━" not in told  # the bar itself comes last
    assert "━" in out.getvalue()


def test_a_terminal_gets_bars_alone() -> None:
    out = io.StringIO()
    shown(Console(file=out, width=80, force_terminal=True), out)
    assert "━" in out.getvalue()
    assert ": 1/3" not in out.getvalue()


def test_the_teller_ends_with_the_block_also_after_an_error() -> None:
    out = io.StringIO()
    console = Console(file=out)
    with pytest.raises(ValueError, match="invalid literal"), follow.progress(console) as bars:
        bars.update(bars.add_task("import", total=3, note=""), completed=int("stop"))
    written = out.getvalue()
    time.sleep(0.05)
    assert out.getvalue() == written
