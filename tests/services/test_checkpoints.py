"""A training goes on at another host, and one that was cut off cannot write over it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.common.waiting import wait_until
from services.errors import LeaseLost
from services.models.checkpoints import RESUME_FILE, Checkpoints, Fence
from services.store.objects import walk
from services.store.objects.folder import FolderObjects

JOB = {"manifest": "a", "train": {"epochs": 3}}


class Host:
    """One host's folder of a run, under one claim."""

    def __init__(self, tmp_path: Path, name: str, fence: Fence, job: object = JOB) -> None:
        self.store = FolderObjects(tmp_path / "store")
        self.run = tmp_path / name / "train-first"
        (self.run / RESUME_FILE).parent.mkdir(parents=True, exist_ok=True)
        assert isinstance(job, dict)
        self.kept = Checkpoints(self.store, self.run, fence, job)

    @property
    def resume(self) -> bytes | None:
        file = self.run / RESUME_FILE
        return file.read_bytes() if file.exists() else None

    def epoch(self, content: bytes) -> None:
        """The training process writes its file anew; our beat sends it."""
        temporary = self.run / "new"
        temporary.write_bytes(content)
        temporary.replace(self.run / RESUME_FILE)
        before = self.note()
        self.kept.beat()
        wait_until(
            lambda: self.note() != before and len(self.objects()) == 2, 30, "it is sent, alone"
        )

    def note(self) -> object:
        found, _ = self.store.get("runs/train-first/checkpoint.json")
        return json.loads(found)

    def objects(self) -> list[str]:
        return [entry.key for entry in walk(self.store, "runs")]


def test_another_host_goes_on_from_the_newest_epoch(tmp_path: Path) -> None:
    one = Host(tmp_path, "one", (7, 1))
    assert one.kept.take() is None
    one.epoch(b"epoch 1")
    one.epoch(b"epoch 2")

    two = Host(tmp_path, "two", (7, 2))
    assert two.kept.take() is None
    assert two.resume == b"epoch 2"
    two.epoch(b"epoch 3")
    assert len(two.objects()) == 2, "the note and one checkpoint"
    again = Host(tmp_path, "two", (7, 3))
    again.kept.take()
    assert again.resume == b"epoch 3"


def test_a_host_that_was_cut_off_cannot_write_over_its_successor(tmp_path: Path) -> None:
    one, two = Host(tmp_path, "one", (7, 1)), Host(tmp_path, "two", (7, 2))
    one.kept.take()
    one.epoch(b"epoch 1")
    two.kept.take()
    two.epoch(b"epoch 2")
    before = two.note(), two.objects()

    (one.run / RESUME_FILE).write_bytes(b"late")

    def refused() -> bool:
        try:
            one.kept.beat()
        except LeaseLost:
            return True
        return False

    wait_until(refused, 30, "the late one is refused")
    with pytest.raises(LeaseLost, match="later lease"):
        one.kept.end({"model_id": "late"})
    with pytest.raises(LeaseLost, match="later lease"):  # it began late, too
        Host(tmp_path, "one", (7, 1)).kept.take()
    assert (two.note(), two.objects()) == before
    two.kept.end({"model_id": "right"})
    assert Host(tmp_path, "three", (8, 1)).kept.take() == {"model_id": "right"}
    assert len(two.objects()) == 1, "the checkpoint has gone with the end"


def test_what_is_lost_or_changed_in_the_store_costs_only_its_epochs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = Host(tmp_path, "one", (7, 1))
    one.kept.take()
    one.epoch(b"epoch 1")
    (key,) = (name for name in one.objects() if name.endswith(".pt"))
    one.store.put(key, b"changed")
    two = Host(tmp_path, "two", (7, 2))
    assert two.kept.take() is None
    assert two.resume is None
    assert "cannot be used" in caplog.text
    one.store.delete(key)
    assert Host(tmp_path, "two", (7, 3)).kept.take() is None
    one.store.put("runs/train-first/checkpoint.json", b"{")
    assert Host(tmp_path, "two", (7, 4)).kept.take() is None
    assert "damaged" in caplog.text


def test_a_checkpoint_of_other_labels_or_settings_is_not_gone_on_from(tmp_path: Path) -> None:
    one = Host(tmp_path, "one", (7, 1))
    one.kept.take()
    one.epoch(b"epoch 1")
    other = Host(tmp_path, "two", (9, 1), {**JOB, "manifest": "b"})
    assert other.kept.take() is None
    assert other.resume is None
    assert len(other.objects()) == 1
