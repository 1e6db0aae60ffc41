"""The demo's world is drawn by all cores, and is the same however many there are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from services.demo import world
from services.demo.sizes import DemoSize

SIZE = DemoSize(seed_images=9, pool_images=10, field_frames=2, sibling_frames=2, holdout_images=2)


def drawn(folder: Path) -> dict[str, str]:
    """Hashes of its files."""
    told: list[tuple[str, int, int]] = []
    world.make_world(folder, SIZE, 5, lambda *step: told.append(step))
    assert told == [
        (split, number, count)
        for split, count in SIZE.splits.items()
        for number in range(1, count + 1)
    ]
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.suffix in (".jpg", ".json")
    }


def test_scenes_are_the_same_by_one_process_and_by_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = drawn(tmp_path / "alone")
    assert len(alone) == 25 + 5 + 1
    monkeypatch.setattr(world, "WORTH_A_PROCESS", 5)
    monkeypatch.setattr(world, "cores", lambda: 2)
    assert drawn(tmp_path / "shared") == alone
