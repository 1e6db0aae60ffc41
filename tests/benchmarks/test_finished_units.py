"""What a benchmark has measured already is not measured again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.common.units import Units

KEY = {"part": "field", "seed": 2, "budget": None}


def test_a_unit_is_computed_once_and_read_back_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "new" / "units.jsonl"
    first = Units(path).get(KEY, lambda: {"ap": np.float32(0.5), "values": np.arange(2)})
    assert first == {"ap": 0.5, "values": [0, 1]}

    again = Units(path)
    assert again.has(dict(reversed(KEY.items())))
    assert not again.has({**KEY, "seed": 3})
    assert again.get(KEY, lambda: pytest.fail("it is there")) == first
    assert again.done == [{**KEY, "result": first}]


def test_half_a_line_of_a_killed_process_costs_itself_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "units.jsonl"
    Units(path).add(KEY, 1)
    with path.open("a") as file:
        file.write('{"part": "field", "seed": 3, "resu')

    Units(path).add({**KEY, "seed": 4}, 2)

    assert "left out half a line" in capsys.readouterr().err
    assert [unit["result"] for unit in Units(path).done] == [1, 2]


def test_to_report_alone_computes_nothing(tmp_path: Path) -> None:
    units = Units(tmp_path / "units.jsonl", read_only=True)
    assert units.get(KEY, lambda: 1) is None
    assert units.arrays(KEY, lambda: {"a": np.zeros(2)}) is None
    assert not list(tmp_path.iterdir())


def test_arrays_lie_beside_the_lines(tmp_path: Path) -> None:
    made = Units(tmp_path / "units.jsonl").arrays(KEY, lambda: {"a": np.arange(3)})
    again = Units(tmp_path / "units.jsonl").arrays(KEY, lambda: pytest.fail("it is there"))
    assert made is not None
    assert again is not None
    np.testing.assert_array_equal(made["a"], again["a"])
