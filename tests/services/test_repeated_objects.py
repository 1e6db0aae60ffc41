"""An object that is listed twice is one object, where one image is told of."""

from __future__ import annotations

import pytest

from services.intake.objects import clean_objects, once

CAR = {"box": [2, 3, 30, 31], "label": "car"}


def cleaned(*entries: dict[str, object]) -> list[dict[str, object]]:
    return once(clean_objects(entries, (64, 48), ["car", "bus"], "here", 10), "here")


def test_a_repeated_object_counts_once_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert len(cleaned(CAR, dict(CAR), {**CAR, "ignore": False})) == 1
    assert "here: 2 repeated objects count once" in caplog.text


@pytest.mark.parametrize(
    "other", [{"label": "bus"}, {"box": [3, 3, 30, 31]}, {"ignore": True}, {"kind": "false"}]
)
def test_what_differs_in_anything_is_another(
    other: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    assert len(cleaned({**CAR, "kind": "missed"}, {**CAR, "kind": "missed", **other})) == 2
    assert not caplog.text
