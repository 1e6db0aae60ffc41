"""Drift from frames to verdict: which days are judged, by what, and what a verdict starts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import select, update

from curation.embedding.embed import RegionEmbedder
from curation.kernel.images import encode_png
from curation.kernel.types import ImageArray
from services.config.setting_groups import DriftSettings, TriggerSettings
from services.context import Context
from services.cycle import triggers
from services.db.base import utc_now
from services.db.tables import (
    Annotation,
    Cycle,
    DriftDay,
    DriftView,
    Image,
    Observation,
    Role,
    Unit,
)
from services.drift import days, frames
from services.telemetry.database import DRIFT_FIGURES, totals
from services.units.resident import Resident
from services.web import start
from services.worker import shell
from tests.services.builders import add_champion, add_holdout_image, make_image
from tests.services.commands import CommandLine
from tests.tiny_ssd import tiny_ssd

TODAY = datetime(2026, 11, 29, 9, tzinfo=UTC)
YESTERDAY = "2026-11-28"


class Colours:
    """An encoder whose features are the colours themselves."""

    version, width = "colours-1", 3

    def encode(self, images: Sequence[ImageArray]) -> torch.Tensor:
        """Feature maps [B, 3, 8, 8]."""
        small = [torch.from_numpy(image[::8, ::12].copy()).permute(2, 0, 1) for image in images]
        return torch.stack([one.float() / 255 for one in small])


def picture(rng: np.random.Generator, red: int) -> ImageArray:
    pixels = rng.integers(0, 120, (64, 96, 3)).astype(np.uint8)
    pixels[..., 0] += np.uint8(red)
    return pixels


def with_settings(context: Context, **changes: Any) -> Context:
    drift = {"daily": True, "min_frames": 8, "level": 0.1, **changes}
    settings = context.settings.model_copy(
        update={"drift": DriftSettings(**drift), "triggers": TriggerSettings(drift=True)}
    )
    return Context(settings, context.project, context.engine, context.sessions)


def filled(context: Context, red: int, role: Role = Role.POOL, day: datetime | None = None) -> None:
    """A pool of 12 drives of two pictures, and a day of 4 drives whose pictures are redder."""
    rng = np.random.default_rng(0)
    reported = day or TODAY - timedelta(days=1)
    with context.sessions.begin() as session:
        for number in range(32):
            field = number >= 24
            data = encode_png(picture(rng, red if field else 0))
            stored = _put(context, data)
            values = {**stored, "group": f"drive {number // 2}", "name": f"{number:03d}"}
            session.add(make_image(number, Role.FIELD if field else role, **values))
            session.flush()
            if field:
                seen = Observation(image_id=stored["id"], has_truth=True, created_at=reported)
                session.add(seen)


def _put(context: Context, data: bytes) -> dict[str, Any]:
    from services.store.storage import put_image

    stored = put_image(context, data)
    return {name: getattr(stored, name) for name in ("id", "file", "width_px", "height_px")}


def with_champion(context: Context) -> str:
    with context.sessions.begin() as session:
        model = add_champion(session)
        add_holdout_image(session)
        tiny_ssd().save(context.project.root / model.folder)
        return model.id


def work(context: Context) -> list[dict[str, Any]]:
    """Do what was asked for as a worker does; the results."""
    resident, results = Resident(), []
    resident.get("embedder", lambda: RegionEmbedder(Colours()))
    with context.sessions() as session:
        ids = session.scalars(select(Unit.id).where(Unit.kind == "drift").order_by(Unit.id)).all()
    for unit_id in ids:
        if shell.run(context, resident, unit_id, "test") == "done":
            with context.sessions() as session:
                results.append(dict(session.get_one(Unit, unit_id).result or {}))
    return results


@pytest.mark.parametrize(("red", "drifted"), [(0, False), (130, True)])
def test_a_day_is_judged_by_its_pictures_once_it_is_over(
    sqlite_context: Context, red: int, drifted: bool
) -> None:
    context = with_settings(sqlite_context)
    filled(context, red)
    with_champion(context)

    assert days.ask(context, TODAY - timedelta(days=1)) == []  # it is not over yet
    assert days.ask(context, TODAY) == [YESTERDAY]
    (result,) = work(context)

    assert result == {"judged": True, "drifted": drifted, "looked_at": 32}
    with context.sessions() as session:
        (row,) = session.scalars(select(DriftDay))
        assert (row.day, row.frames, row.groups, row.reference_groups) == (YESTERDAY, 8, 4, 12)
        assert row.can_tell
        assert row.figures["embedding"]["drifted"] is drifted
        assert set(row.figures) == set(DRIFT_FIGURES)
        assert len(session.scalars(select(DriftView)).all()) == 32
        metrics = totals(session)
    assert metrics["e2x_drift_detected"] == {(): float(drifted)}
    assert metrics["e2x_drift_distance"]["embedding",] == row.figures["embedding"]["distance"]
    assert days.ask(context, TODAY) == []  # once


def test_what_was_seen_of_an_image_is_not_computed_again(sqlite_context: Context) -> None:
    context = with_settings(sqlite_context)
    filled(context, 0)
    model = with_champion(context)
    days.ask(context, TODAY)
    work(context)
    with context.sessions.begin() as session:
        session.execute(update(Observation).values(created_at=TODAY - timedelta(days=2)))
        days.request(session, (TODAY - timedelta(days=2)).date(), model)

    (result,) = work(context)

    assert result["looked_at"] == 0


def test_too_few_frames_no_champion_and_the_setting_ask_for_nothing(
    sqlite_context: Context,
) -> None:
    context = with_settings(sqlite_context)
    filled(context, 0)
    assert days.ask(context, TODAY) == []  # no champion
    with_champion(context)
    assert days.ask(with_settings(context, min_frames=9), TODAY) == []
    assert days.ask(with_settings(context, daily=False), TODAY) == []
    assert days.ask(context, TODAY + timedelta(days=30)) == []  # nobody waits for it any more
    assert days.ask(context, TODAY) == [YESTERDAY]


def test_a_verdict_starts_one_cycle(sqlite_context: Context) -> None:
    context = with_settings(sqlite_context)
    with_champion(context)
    with context.sessions.begin() as session:
        session.add(_day(drifted=False))
    assert triggers.check(context) == []
    with context.sessions.begin() as session:
        session.add(_day("2026-11-27", drifted=True))

    started = triggers.check(context)
    with context.sessions.begin() as session:
        cycle = session.get_one(Cycle, started[0])
        assert (cycle.kind, cycle.trigger) == ("full", "drift")
        cycle.state, cycle.finished_at = "done", utc_now()

    assert len(started) == 1
    assert triggers.check(context) == []


def _day(day: str = YESTERDAY, drifted: bool = False) -> DriftDay:
    figure = {"distance": 0.3, "low": 0.2, "high": 0.4, "p_value": 0.0004, "drifted": drifted}
    return DriftDay(
        day=day,
        model_id=f"{1:064x}",
        frames=40,
        groups=4,
        reference_groups=30,
        can_tell=True,
        drifted=drifted,
        empty_share=0.5,
        reference_empty_share=0.25,
        figures=dict.fromkeys(DRIFT_FIGURES, figure),
    )


def test_what_was_learnt_from_is_no_reference(sqlite_context: Context) -> None:
    context = with_settings(sqlite_context, min_frames=2)
    filled(context, 0)
    with context.sessions.begin() as session:
        pool = session.scalars(select(Image.id).where(Image.role == Role.POOL)).all()
        session.add_all(Annotation(image_id=one, objects=[]) for one in pool[:20])
        session.flush()
        chosen = frames.choose(session, TODAY.date(), context.settings.drift)

    assert set(chosen.reference) == set(pool[20:])


def test_without_a_pool_the_start_set_is_the_reference(sqlite_context: Context) -> None:
    context = with_settings(sqlite_context)
    filled(context, 0, Role.SEED)

    with context.sessions() as session:
        chosen = frames.choose(session, TODAY.date(), context.settings.drift)

    assert len(chosen.reference) == 24


def test_earlier_days_of_the_field_can_be_the_reference(context: Context) -> None:
    context = with_settings(context, reference="field")
    filled(context, 0, day=TODAY - timedelta(days=3))

    with context.sessions() as session:
        before = frames.choose(session, TODAY.date(), context.settings.drift)
        same_day = frames.choose(
            session, (TODAY - timedelta(days=3)).date(), context.settings.drift
        )

    assert (len(before.day), len(before.reference)) == (0, 8)
    assert (len(same_day.day), len(same_day.reference)) == (8, 0)


def test_a_day_without_a_reference_is_said(
    sqlite_context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    context = with_settings(sqlite_context, reference="field")
    filled(context, 0)
    with_champion(context)
    days.ask(context, TODAY)

    assert work(context) == [{"judged": False}]
    assert "the reference has no image" in caplog.text


def test_an_image_that_cannot_be_read_costs_only_itself(sqlite_context: Context) -> None:
    context = with_settings(sqlite_context)
    filled(context, 0)
    with_champion(context)
    with context.sessions() as session:
        lost = session.scalars(select(Image).where(Image.role == Role.POOL)).first()
        assert lost is not None
        (context.project.images / lost.file).unlink()
    days.ask(context, TODAY)

    (result,) = work(context)

    assert (result["judged"], result["looked_at"]) == (True, 31)


def test_the_command_shows_days_and_asks_for_one(
    sqlite_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("E2X_DATABASE_URL", str(sqlite_context.engine.url))
    line = CommandLine(sqlite_context.project.root)
    assert "no day was judged yet; set drift.daily" in line.done("drift").out
    with_champion(sqlite_context)
    with sqlite_context.sessions.begin() as session:
        session.add(_day(drifted=True))

    told = line.done("drift", "--ask", YESTERDAY)
    (row,) = line.done("drift", "--json").json["days"]

    assert "drifted" in told.out
    assert "0.30*" in told.out
    assert row["figures"]["sizes"]["p_value"] == 0.0004
    assert "expected a day" in line.refused("drift", "--ask", "yesterday")
    with sqlite_context.sessions() as session:
        assert session.scalar(select(Unit.payload).where(Unit.kind == "drift")) == {
            "day": YESTERDAY,
            "model": f"{1:064x}",
        }


def test_the_start_page_tells_the_newest_day(sqlite_context: Context) -> None:
    with_champion(sqlite_context)
    assert "Drift of the field" not in start.figures(sqlite_context)[start.LOOKS]
    with sqlite_context.sessions.begin() as session:
        session.add_all([_day("2026-11-20"), _day(drifted=True)])

    page = start.figures(sqlite_context)[start.LOOKS]

    assert "2026-11-28, 40 frames of 4 groups" in page
    assert "unlike the reference" in page
    assert "embedding 0.30 (drifted)" in page
