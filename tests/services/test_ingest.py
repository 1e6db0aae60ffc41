"""Field frames: content-keyed, checked before anything is stored, safe against racing senders."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select

from curation.kernel.errors import AnnotationsInvalid, CurationError, ImageUnreadable, InvalidBoxes
from services.context import Context
from services.db.tables import Annotation, Image, Observation, Role, Unit
from services.errors import Conflict, InvalidRequest
from services.intake.frames import ingest_frame
from services.intake.imports import import_dataset
from tests import bad_images
from tests.services.builders import add_champion
from tests.services.datasets_on_disk import pictures, write_coco

CAR = {"box": [2, 3, 12, 11], "label": "car"}
MISSED = {"kind": "missed", **CAR}


@pytest.fixture
def ready(context: Context, tmp_path: Path) -> Context:
    """A project with the classes bus and car, and a champion."""
    import_dataset(context, write_coco(tmp_path / "seed", pictures(100)), Role.SEED)
    with context.sessions.begin() as session:
        add_champion(session)
    return context


def _send(context: Context, data: bytes = bad_images.png(1), **said: Any) -> int:
    name = said.pop("name", "frame.png")
    return ingest_frame(context, data, name, **said).id


def _counts(context: Context) -> tuple[int, ...]:
    """Images, frames, annotations, scans; the seed image and its label are left out."""
    with context.sessions() as session:
        rows = [
            session.scalar(select(func.count()).select_from(table)) or 0
            for table in (Image, Observation, Annotation, Unit)
        ]
    return rows[0] - 1, rows[1], rows[2] - 1, rows[3]


def test_the_same_frame_is_the_same_row(ready: Context) -> None:
    first = _send(ready, objects=[CAR])
    again = _send(ready, objects=[CAR], name="other.jpg")

    assert first == again
    assert _counts(ready) == (1, 1, 1, 1)


def test_other_words_are_added_and_looked_at(ready: Context) -> None:
    frame = _send(ready, reports=[MISSED], reporter="anna")
    _send(ready, reports=[MISSED, {**MISSED, "kind": "false"}])

    assert _counts(ready) == (1, 1, 0, 2)
    with ready.sessions() as session:
        stored = session.get_one(Observation, frame)
        assert [said["kind"] for said in stored.reports] == ["missed", "false"]
        assert (stored.reporter, stored.has_truth) == ("anna", False)


def test_corrected_truth_is_a_new_revision(ready: Context) -> None:
    _send(ready, objects=[CAR])
    _send(ready, objects=[])
    _send(ready, objects=[])

    assert _counts(ready) == (1, 1, 2, 2)


@pytest.mark.parametrize("name", bad_images.BAD)
def test_a_bad_image_stores_nothing(ready: Context, name: str) -> None:
    with pytest.raises(ImageUnreadable):
        _send(ready, bad_images.BAD[name](), objects=[])

    assert _counts(ready) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("said", "error", "why"),
    [
        ({}, InvalidRequest, "send `objects`"),
        ({"reports": []}, InvalidRequest, "send `objects`"),
        ({"objects": [{**CAR, "label": "boat"}]}, InvalidRequest, "knows car, bus"),
        ({"objects": [CAR, {**CAR, "box": [9, 9, 4, 4]}]}, InvalidBoxes, "box 1 .* inverted"),
        ({"objects": [{**CAR, "box": [-9, 0, 4, 4]}]}, InvalidBoxes, "leaves the 64x48"),
        ({"objects": [{**CAR, "box": [0, 0, 1e39, 4]}]}, InvalidBoxes, "not finite"),
        ({"objects": [{**CAR, "box": [1, 2, 3]}]}, InvalidRequest, "not four numbers"),
        ({"objects": [CAR, {**CAR, "box": [1, 2, 3]}]}, InvalidRequest, "not four numbers"),
        ({"objects": [{"label": "car"}]}, InvalidRequest, "not four numbers"),
        ({"objects": [{**CAR, "box": ["2", "3", "12", "11"]}]}, InvalidRequest, "not four numbers"),
        ({"objects": [{**CAR, "box": [True, 3, 12, 11]}]}, InvalidRequest, "not four numbers"),
        ({"objects": [{**CAR, "box": [2, 3, 10**400, 11]}]}, InvalidBoxes, "not finite"),
        ({"objects": [{**CAR, "box": [2, 3, math.nan, 11]}]}, InvalidBoxes, "not finite"),
        ({"objects": [{**CAR, "ignore": "perhaps"}]}, AnnotationsInvalid, "give 0 or 1"),
        ({"objects": [CAR, {**CAR, "box": [5, 5, 5.4, 9]}]}, InvalidBoxes, "box 1 .* narrower"),
        ({"objects": [{**CAR, "box": [-1, 5, 0.4, 9]}]}, InvalidBoxes, "narrower than 1 px"),
        ({"objects": [], "said_wh": (640, 480)}, InvalidRequest, "64x48 but spoken of as 640x480"),
        ({"objects": [], "said_wh": (48, 64)}, InvalidRequest, "upright picture"),
        ({"reports": [{**CAR, "kind": "odd"}]}, InvalidRequest, "kind 'odd'"),
    ],
)
def test_wrong_words_store_nothing(
    ready: Context, said: dict[str, Any], error: type[Exception], why: str
) -> None:
    before = sorted(ready.project.images.rglob("*"))

    with pytest.raises(error, match=why):
        _send(ready, **said)

    assert _counts(ready) == (0, 0, 0, 0)
    assert sorted(ready.project.images.rglob("*")) == before


@pytest.mark.parametrize("shares", [[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1], [0.2, 0.3, 0.9, 1.1]])
@pytest.mark.parametrize("door", ["objects", "reports"])
def test_shares_for_pixels_are_told(ready: Context, door: str, shares: list[float]) -> None:
    entries = [{**CAR, "kind": "missed", "box": shares}] * 2

    with pytest.raises(InvalidBoxes, match="look normalised: give x1, y1, x2, y2 in pixels"):
        _send(ready, **{door: entries})

    assert _counts(ready) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("boxes", "hint"),
    [
        ([[40, 10, 20, 20], [30, 30, 12, 11]], "as x, y, width, height all would fit"),
        ([[2, 3, 12, 60]], "in 48x64 all would fit"),
        ([[2, 3, 70, 60]], None),
    ],
)
def test_a_likely_cause_is_told(ready: Context, boxes: list[list[float]], hint: str | None) -> None:
    with pytest.raises(InvalidBoxes) as caught:
        _send(ready, objects=[{**CAR, "box": box} for box in boxes])

    assert (hint or "image") in str(caught.value)
    assert (hint is None) == ("fit" not in str(caught.value))


@pytest.mark.parametrize(
    ("said", "meant"),
    [("0", False), ("false", False), (0, False), (None, False), ("1", True), ("True", True)],
)
def test_a_flag_means_what_it_says(ready: Context, said: object, meant: bool) -> None:
    _send(ready, objects=[{**CAR, "ignore": said}])

    with ready.sessions() as session:
        newest = session.scalars(select(Annotation).order_by(Annotation.id.desc())).first()
        assert newest is not None
        assert [entry["ignore"] for entry in newest.objects] == [meant]


def test_boxes_that_are_small_by_the_setting_are_ignored(ready: Context) -> None:
    ready.settings.ingest.ignore_below_px = 9
    _send(ready, objects=[CAR, {**CAR, "box": [2, 3, 12, 13]}])

    with ready.sessions() as session:
        newest = session.scalars(select(Annotation).order_by(Annotation.id.desc())).first()
        assert newest is not None
        assert [entry["ignore"] for entry in newest.objects] == [True, False]


def test_an_image_of_another_role_is_a_conflict(ready: Context, tmp_path: Path) -> None:
    import_dataset(ready, write_coco(tmp_path / "holdout", pictures(5)), Role.HOLDOUT)

    with pytest.raises(Conflict, match="role holdout, it cannot be a field frame"):
        _send(ready, bad_images.png(5), objects=[])

    with ready.sessions() as session:
        assert not session.scalar(select(func.count()).select_from(Observation))


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\0b.png", "\x1b[2J.png", "\ud800.png", ""])
def test_a_hostile_name_is_only_a_name(ready: Context, name: str) -> None:
    _send(ready, objects=[], name=name, reporter=f"r{name}", group=f"g{name}")

    with ready.sessions() as session:
        image = session.scalars(select(Image).where(Image.role == Role.FIELD)).one()
        assert image.name.isprintable()
        assert image.name
        assert image.file == f"{image.id[:2]}/{image.id}.png"


def test_racing_senders_of_one_frame_make_one_frame(ready: Context) -> None:
    with ThreadPoolExecutor(6) as senders:
        frames = list(senders.map(lambda _: _send(ready, objects=[CAR]), range(12)))

    assert len(set(frames)) == 1
    assert _counts(ready) == (1, 1, 1, 1)


def test_a_bad_frame_between_good_ones_costs_them_nothing(ready: Context) -> None:
    refused = 0
    for data in (bad_images.png(1), bad_images.truncated_png(), bad_images.cmyk()):
        try:
            _send(ready, data, objects=[CAR])
        except CurationError:
            refused += 1

    assert refused == 1
    assert _counts(ready) == (2, 2, 2, 2)


def _reports(count: int, start: int = 0) -> list[dict[str, Any]]:
    boxes = ([1.0 + 0.1 * n, 2.0, 40.0, 30.0] for n in range(start, start + count))
    return [{"kind": "missed", "box": box, "label": "car"} for box in boxes]


def test_reports_on_a_frame_do_not_pile_up(ready: Context) -> None:
    most = ready.settings.ingest.max_reports
    frame = _send(ready, reports=_reports(most - 1))
    _send(ready, reports=_reports(1, start=most))

    for more in (_reports(1, start=most + 1), _reports(16_000)):
        with pytest.raises(InvalidRequest, match=r"ingest\.max_reports.*`objects`"):
            _send(ready, reports=more)

    _send(ready, reports=_reports(3))  # known ones are no more
    with ready.sessions() as session:
        assert len(session.get_one(Observation, frame).reports) == most


def test_an_image_has_so_many_objects_at_most(ready: Context) -> None:
    most = ready.settings.ingest.max_objects
    with pytest.raises(InvalidRequest, match=rf"{most + 1} objects.*ingest\.max_objects"):
        _send(ready, objects=[CAR] * (most + 1))
    assert _counts(ready) == (0, 0, 0, 0)


def test_a_frame_is_decoded_and_kept_before_its_transaction(
    sqlite_context: Context, tmp_path: Path
) -> None:
    """Of two files that nobody can store yet, both lie in the store already."""
    import_dataset(sqlite_context, write_coco(tmp_path / "seed", pictures(100)), Role.SEED)
    kept: list[int] = []

    def begun(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("BEGIN IMMEDIATE"):
            kept.append(len(list(sqlite_context.project.images.rglob("*.png"))))

    event.listen(sqlite_context.engine, "before_cursor_execute", begun)
    _send(sqlite_context, objects=[CAR])

    assert kept == [2]  # the seed image and this one
