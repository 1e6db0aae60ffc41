"""What a page reads is what it shows: rows that are loaded, not time."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event, select

from services.context import Context
from services.db.tables import ModeRow, ModeSighting
from services.modes import trends
from services.modes.counts import read_counts
from tests.services.pages import add_field


def test_a_page_of_modes_loads_the_sightings_of_its_own_modes_only(sqlite_context: Context) -> None:
    add_field(sqlite_context, 12)
    loaded: list[int] = []

    def saw(sighting: ModeSighting, _: Any) -> None:
        loaded.append(sighting.mode_id)

    event.listen(ModeSighting, "load", saw)
    try:
        with sqlite_context.sessions() as session:
            rows = session.scalars(select(ModeRow).order_by(ModeRow.id.desc()).limit(2)).all()
            found = trends.trends(session, rows)
    finally:
        event.remove(ModeSighting, "load", saw)
    assert sorted(loaded) == sorted(row.id for row in rows)
    assert [one.mode.id for one in found] == [row.id for row in rows]
    with sqlite_context.sessions() as session:
        some, every = read_counts(session, [row.id for row in rows]), read_counts(session)
    assert set(some.places) == {row.id for row in rows}
    for one in found:
        assert some.progress(one.mode.id) == every.progress(one.mode.id)
        assert (one.places, one.failing, one.asked) == (1, 1, 1)
