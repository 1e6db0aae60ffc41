"""What the retrieval part of the loop benchmark counts."""

from __future__ import annotations

import pytest

from benchmarks.loop.retrieval import precision


def test_fragments_of_a_cause_gain_nothing() -> None:
    """Four failures of one cause: a mode of three of them has three, one of all has four."""
    cause_of = {"a": "fog", "b": "fog", "c": "fog", "d": "fog", "e": None}
    assert precision([["a", "b"], ["c"], ["d"]], cause_of) == {"fog": pytest.approx(0.5)}
    assert precision([["a", "b", "c", "d", "e"]], cause_of) == {"fog": pytest.approx(1.0)}
    assert precision([["e", "a", "b", "c", "d"]], cause_of) == {"fog": pytest.approx(0.75)}


def test_a_single_failure_makes_no_mode() -> None:
    assert precision([["a"], ["b"]], {"a": "fog", "b": "rain"}) == {}


def test_ten_exemplars_tell_of_a_large_cause() -> None:
    cause_of: dict[str, str | None] = {f"{n}": "fog" if n < 30 else "rain" for n in range(40)}
    mixed = [f"{n}" for n in range(25, 35)]
    assert precision([mixed], cause_of) == {"fog": pytest.approx(0.5), "rain": pytest.approx(0.5)}
