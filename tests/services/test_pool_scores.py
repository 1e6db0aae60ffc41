"""What a champion sees in a pool is read from its files as it is asked for."""

from __future__ import annotations

import gc
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.common.waiting import wait_until
from curation.kernel.types import Detections
from services.selection import pool_scores
from services.selection.pool_scores import OPEN_FILES, PoolScores, write

A_FILE, FILES = 3, 9


def seen(number: int) -> Detections:
    """As many detections as the number says, none for 0."""
    boxes = np.tile(np.array([[1, 1, 9, 9]], np.float32), (number, 1)) + number
    scores = np.linspace(0.9, 0.1, number, dtype=np.float32)
    return Detections(boxes, scores, np.full(number, 2, np.int64), np.arange(number))


def written(folder: Path) -> list[Path]:
    """Files of which image ``n`` has ``n`` detections; ids rise from file to file."""
    files = []
    for first in range(0, A_FILE * FILES, A_FILE):
        files.append(folder / f"pool-{first:05d}.npz")
        numbers = range(first, first + A_FILE)
        write(files[-1], {f"{number:04d}": seen(number) for number in numbers})
    return files


def test_each_image_has_its_own(tmp_path: Path) -> None:
    scores = PoolScores(written(tmp_path))
    assert len(scores) == A_FILE * FILES
    for name in reversed(list(scores)):
        one, expected = scores[name], seen(int(name))
        np.testing.assert_array_equal(one.boxes_xyxy, expected.boxes_xyxy)
        np.testing.assert_array_equal(one.scores, expected.scores)
        np.testing.assert_array_equal(one.labels, expected.labels)
        np.testing.assert_array_equal(one.default_boxes, expected.default_boxes)
    assert "absent" not in scores
    assert scores.get("absent") is None


def test_a_pass_reads_each_file_once_and_holds_a_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = PoolScores(written(tmp_path))
    read, opened = pool_scores.read_npz, list[str]()

    def counted(path: Path, only: Collection[str] | None = None) -> dict[str, Any]:
        opened.append(path.name)
        return read(path, only)

    monkeypatch.setattr(pool_scores, "read_npz", counted)
    for name in scores:
        assert len(scores[name]) == int(name)
        assert len(scores._open) <= OPEN_FILES
    assert len(opened) == len(set(opened)) == FILES


def test_what_was_seen_just_now_counts_and_leaves_nothing_behind(tmp_path: Path) -> None:
    scores = PoolScores(written(tmp_path))
    scores.add({"0001": seen(7), "new": seen(2)})
    scores.add({})
    assert (len(scores["0001"]), len(scores["new"])) == (7, 2)
    assert len(scores) == A_FILE * FILES + 1
    assert scores._own is not None
    folder = Path(scores._own.name)
    assert len(list(folder.iterdir())) == 1
    del scores  # whatever else looks at this frame just now lets go of it too
    wait_until(lambda: gc.collect() >= 0 and not folder.exists(), 15, "its files are gone")
    assert not folder.exists()


def test_a_damaged_file_costs_those_in_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = written(tmp_path)
    data = files[1].read_bytes()
    files[1].write_bytes(data[: len(data) // 2])
    scores = PoolScores(files)
    assert len(scores) == A_FILE * (FILES - 1)
    assert "0003" not in scores
    assert "is left out" in caplog.text
