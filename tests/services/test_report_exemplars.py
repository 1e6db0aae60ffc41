"""Which failures of a mode a page shows first: those that differ, whatever was stored before."""

from __future__ import annotations

from services.db.tables import FailureRow, ModeSighting
from services.report.read import _typical_first


def test_each_is_of_another_frame_while_there_are_some() -> None:
    frames = {"a": "one", "b": "one", "c": "two", "d": "three", "e": "two", "f": "four"}
    rows = [FailureRow(id=name, image_id=frame) for name, frame in frames.items()]
    seen = ModeSighting(exemplars=["b", "a", "c", "e"])  # as older versions stored them
    assert "".join(row.id for row in _typical_first(rows, seen)) == "bcdfae"
    kept = [row for row in rows if row.id != "c"]  # it was taken back: another takes its place
    assert "".join(row.id for row in _typical_first(kept, seen)) == "bedfa"
