"""Kept superpixels: the same ones again, made anew where they are lost, bounded in number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curation import superpixels
from curation.kernel.types import ImageArray
from services.store import superpixels as segments
from tests.toy import textured_image

SIZE = (48, 64)


def kept(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npz"))


def test_a_kept_partition_is_not_made_again(tmp_path: Path, photo: ImageArray) -> None:
    first = segments.segments_of(tmp_path, "a" * 64, photo, SIZE, 30, "slic")
    np.testing.assert_array_equal(first, superpixels.slic(photo, SIZE, 30))
    assert len(kept(tmp_path)) == 1
    # other pixels under the same name: what comes back can only be what was kept
    again = segments.segments_of(tmp_path, "a" * 64, textured_image(3), SIZE, 30, "slic")
    np.testing.assert_array_equal(again, first)
    assert again.dtype == np.int32


def test_every_parameter_has_its_own_partition(tmp_path: Path, photo: ImageArray) -> None:
    calls = [
        ("a" * 64, SIZE, 30, "slic"),
        ("b" * 64, SIZE, 30, "slic"),
        ("a" * 64, (40, 64), 30, "slic"),
        ("a" * 64, SIZE, 20, "slic"),
        ("a" * 64, SIZE, 30, "grid"),
        ("a" * 64, SIZE, 30, "quickshift"),
    ]
    for image, size, count, method in calls:
        found = segments.segments_of(tmp_path, image, photo, size, count, method)  # type: ignore[arg-type]
        assert found.shape == size
    assert len(kept(tmp_path)) == len(calls)
    segments.segments_of(tmp_path, "a" * 64, photo, SIZE, 99, "quickshift")  # finds its number
    assert len(kept(tmp_path)) == len(calls)


@pytest.mark.parametrize("damage", ["cut", "empty", "other array", "other size", "gaps"])
def test_a_damaged_file_is_made_again(tmp_path: Path, photo: ImageArray, damage: str) -> None:
    right = segments.segments_of(tmp_path, "a" * 64, photo, SIZE, 30, "slic")
    (file,) = kept(tmp_path)
    whole = file.read_bytes()
    if damage in ("cut", "empty"):
        file.write_bytes(whole[: len(whole) // 2 if damage == "cut" else 0])
    elif damage == "other array":
        np.savez(file, other=right)
    else:
        np.savez(file, segments=right[:-1] if damage == "other size" else right * 2)
    again = segments.segments_of(tmp_path, "a" * 64, photo, SIZE, 30, "slic")
    np.testing.assert_array_equal(again, right)
    with np.load(file) as stored:  # and is whole again
        np.testing.assert_array_equal(stored["segments"], right)


def test_the_least_recently_used_are_forgotten(
    tmp_path: Path, photo: ImageArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "FILES_A_FOLDER", 1)
    for number in range(40):
        segments.segments_of(tmp_path, f"{number:064d}", photo, (8, 8), 4, "grid")
    folders = {file.parent for file in kept(tmp_path)}
    assert len(kept(tmp_path)) == len(folders) < 40


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_keeping(
    tmp_path: Path, photo: ImageArray
) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("no folder")
    found = segments.segments_of(blocked, "a" * 64, photo, SIZE, 30, "slic")
    np.testing.assert_array_equal(found, superpixels.slic(photo, SIZE, 30))
