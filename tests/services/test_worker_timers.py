"""A worker keeps no timer that was cancelled until its time has come."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from kombu.asynchronous.timer import Timer

from benchmarks.common.waiting import PATIENCE
from services.worker import timers


def run(timer: Timer, done: Callable[[], bool]) -> None:
    """What the loop of a worker does with its timer, until something is so."""
    until = time.monotonic() + 10 * PATIENCE
    for wait_s, entry in timer:
        if entry is not None:
            timer.apply_entry(entry)
        if done():
            return
        assert time.monotonic() < until
        time.sleep(min(0.005, wait_s or 0.005))


def test_what_is_cancelled_goes_and_the_rest_comes_at_its_time() -> None:
    timer, came = Timer(), list[str]()
    timer.call_after(0.02, came.append, ["second"])
    timer.call_after(0.01, came.append, ["first"])
    timer.call_after(3600.0, came.append, ["never"])
    for _ in range(1000):
        timer.call_after(1800.0, came.append, ["cancelled"]).cancel()

    timers.forget_cancelled(timer)

    assert len(timer) == 3
    run(timer, lambda: len(came) > 1)
    assert came == ["first", "second"]


def test_it_goes_on_while_the_loop_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers, "EVERY_S", 0.02)
    timer, beats = Timer(), list[int]()
    timer.call_repeatedly(0.01, lambda: beats.append(len(timer)))
    timers.ForgetCancelled(SimpleNamespace()).start(SimpleNamespace(timer=timer))
    for _ in range(3):
        for _ in range(100):
            timer.call_after(1800.0, beats.clear).cancel()
        run(timer, lambda: len(timer) <= 2)
    run(timer, lambda: len(beats) >= 6)  # what repeats was kept
