"""Metrics of the database: planted rows give exactly these samples, at a known price."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, insert

from benchmarks.common.projects import make_context, make_unit
from services import units
from services.context import Context
from services.db.base import clock, utc_now
from services.db.tables import (
    Cycle,
    CycleState,
    Embedding,
    FailureState,
    Image,
    LabelTask,
    ModeRow,
    Outbox,
    Role,
    TaskState,
    Unit,
    UnitState,
)
from services.telemetry import catalogue as of
from services.telemetry import database
from services.telemetry.database import DatabaseReader, wait_s
from services.telemetry.exposition import Exposition
from services.worker.environment import environment_of
from tests.services.builders import add_champion, make_failure, make_image

LIVE, TOTALS = 6, 5
"""Statements of one look, and of one that reads the totals too."""
NOW = utc_now()


def ago(seconds: float) -> Any:
    return NOW - timedelta(seconds=seconds)


def exposed(context: Context) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Samples by name and labels, through the text and the library's own reader of it."""
    text = Exposition({"database": DatabaseReader(context).read}).text().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for found in text_string_to_metric_families(text)
        for sample in found.samples
    }


def figure(found: dict[Any, float], name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


@pytest.fixture
def at_now() -> Iterator[None]:
    with clock(lambda: NOW):
        yield


def unit(number: int, state: UnitState, kind: str = "scan", **values: Any) -> Unit:
    return make_unit(**{"key": f"{kind}:{number}", "kind": kind, "state": state, **values})


def plant(context: Context) -> None:
    """One of everything that is counted."""
    lease = {"owner": "gone:1", "token": 1, "attempts": 1}
    with context.sessions.begin() as session:
        champion = add_champion(session, 7)
        images = [make_image(number, Role.FIELD) for number in range(1, 4)]
        pool = [make_image(number, Role.POOL) for number in range(4, 9)]
        session.add_all([*images, *pool])
        session.flush()
        cycles = [
            Cycle(policy="e2x", budget_boxes=1, state=state, promoted=promoted, created_at=when)
            for state, promoted, when in (
                (CycleState.DONE, True, ago(9000)),
                (CycleState.DONE, False, ago(8000)),
                (CycleState.DONE, False, ago(7000)),
                (CycleState.FAILED, None, ago(6000)),
                (CycleState.LABELLING, None, ago(5000)),
            )
        ]
        session.add_all(cycles)
        session.flush()
        session.add_all(
            [
                unit(1, UnitState.QUEUED, not_before=ago(50)),
                unit(2, UnitState.QUEUED, not_before=ago(300)),
                unit(3, UnitState.QUEUED, not_before=ago(-20)),
                unit(4, UnitState.QUEUED, kind="train", not_before=ago(-20)),
                unit(5, UnitState.LEASED, lease_until=ago(-30), **lease),
                unit(6, UnitState.LEASED, lease_until=ago(30), **lease),
                unit(7, UnitState.LEASED, lease_until=None, **lease),
                unit(8, UnitState.DEAD, kind="explain"),
                unit(9, UnitState.DONE, kind="explain"),
                unit(10, UnitState.DONE, kind="explain"),
                unit(11, UnitState.CANCELLED, kind="embed"),
                unit(12, UnitState.DEAD, kind="of a plug-in"),
            ]
        )
        session.flush()
        by_key = {row.key: row.id for row in session.query(Unit)}
        session.add_all(
            [
                Outbox(unit_id=by_key["scan:1"], queue="explain", created_at=ago(50)),
                Outbox(unit_id=by_key["scan:2"], queue="explain", created_at=ago(400)),
                # Neither sent nor needed: not due yet, ended, sent.
                Outbox(unit_id=by_key["scan:3"], queue="explain", created_at=ago(900)),
                Outbox(unit_id=by_key["explain:9"], queue="explain", created_at=ago(900)),
                Outbox(
                    unit_id=by_key["scan:1"],
                    queue="explain",
                    created_at=ago(900),
                    published_at=ago(899),
                ),
            ]
        )
        session.add_all(
            [
                make_failure(1, images[0], champion),
                make_failure(
                    2, images[1], champion, state=FailureState.FIXED, fixed_by=champion.id
                ),
                make_failure(3, images[2], champion, state=FailureState.DISMISSED),
            ]
        )
        session.add_all(
            [
                LabelTask(image_id=pool[0].id, cycle_id=cycles[4].id, created_at=ago(4000)),
                LabelTask(
                    image_id=pool[1].id,
                    cycle_id=cycles[4].id,
                    state=TaskState.LEASED,
                    created_at=ago(4500),
                ),
                LabelTask(
                    image_id=pool[2].id,
                    cycle_id=cycles[4].id,
                    state=TaskState.SUBMITTED,
                    created_at=ago(9999),
                ),
            ]
        )
        session.add(
            ModeRow(name="missed car", family="missed", label="car", opened_cycle_id=cycles[0].id)
        )
        for number, image in enumerate(pool):
            held = {"regions": 10 + number, "indexed": number < 2, "file": "a.npz"}
            session.add(Embedding(image_id=image.id, encoder_version="v", **held))


def test_planted_rows_give_exactly_these_samples(context: Context, at_now: None) -> None:
    plant(context)
    found = exposed(context)
    # The promotion asks for the field images' scans: there were none yet.
    scan = {"kind": "scan", "queue": "explain"}
    explain = {"kind": "explain", "queue": "explain"}
    assert figure(found, "e2x_units", state="queued", **scan) == 3
    assert figure(found, "e2x_units", state="leased", **scan) == 3
    assert figure(found, "e2x_units", state="dead", **scan) == 0
    assert figure(found, "e2x_units", state="dead", **explain) == 1
    assert figure(found, "e2x_units", state="done", **explain) == 2
    assert figure(found, "e2x_units", state="cancelled", kind="embed", queue="embed") == 1
    assert figure(found, "e2x_units", state="dead", kind="other", queue="other") == 1
    assert figure(found, "e2x_oldest_waiting_unit_age_seconds", **scan) == 300
    train = {"kind": "train", "queue": "train"}
    assert figure(found, "e2x_oldest_waiting_unit_age_seconds", **train) == 0
    assert figure(found, "e2x_leases", kind="scan", state="live") == 1
    assert figure(found, "e2x_leases", kind="scan", state="expired") == 2
    assert figure(found, "e2x_outbox_messages") == 2
    assert figure(found, "e2x_outbox_oldest_age_seconds") == 300  # since it was due
    assert figure(found, "e2x_cycles", state="done") == 3
    assert figure(found, "e2x_cycles", state="training") == 0
    assert figure(found, "e2x_cycle_age_seconds") == 5000
    assert figure(found, "e2x_gate_verdicts", verdict="promoted") == 1
    assert figure(found, "e2x_gate_verdicts", verdict="not_promoted") == 2
    assert figure(found, "e2x_label_tasks", state="waiting") == 1
    assert figure(found, "e2x_label_tasks", state="submitted") == 1
    assert figure(found, "e2x_label_tasks", state="skipped") == 0
    assert figure(found, "e2x_oldest_open_label_task_age_seconds") == 4500
    assert figure(found, "e2x_modes", state="open") == 1
    assert figure(found, "e2x_champion_present") == 1
    assert figure(found, "e2x_champion_info", number="7", version="0" * 12) == 1
    assert figure(found, "e2x_images", role="pool") == 5
    assert figure(found, "e2x_images", role="siblings") == 0
    assert figure(found, "e2x_failures", state="fixed") == 1
    assert figure(found, "e2x_failures_found_total") == 3
    assert figure(found, "e2x_index_images", state="indexed") == 2
    assert figure(found, "e2x_index_images", state="waiting") == 3
    assert figure(found, "e2x_index_regions") == 21
    assert figure(found, "e2x_part_up", part="database") == 1


def test_an_empty_project_says_so_by_zeros(context: Context) -> None:
    found = exposed(context)
    names = {name for name, _ in found}
    expected = {
        name
        for metric in of.METRICS.values()
        if metric.source == of.Source.DATABASE and metric is not of.CHAMPION
        for name in metric.exposed
    }
    assert expected <= names
    assert "e2x_champion_info" not in names
    assert figure(found, "e2x_part_up", part="database") == 1
    assert {value for (name, _), value in found.items() if name in expected} == {0.0}


def test_a_look_costs_few_statements_however_much_there_is(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(context)
    statements: list[str] = []

    def count(_c: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        if statement.startswith("SELECT"):
            statements.append(statement)

    reader = DatabaseReader(context)
    event.listen(context.engine, "before_cursor_execute", count)
    monkeypatch.setattr(database, "COST", 0)
    reader.read()
    assert len(statements) == LIVE + TOTALS
    statements.clear()
    with context.sessions.begin() as session:
        session.add_all([unit(number, UnitState.QUEUED) for number in range(100, 400)])
        session.add(make_image(99, Role.POOL))
    statements.clear()
    samples = reader.read()
    assert len(statements) == LIVE
    assert samples["e2x_units"]["scan", "explain", "queued"] == 303  # live
    assert samples["e2x_images"]["pool",] == 5  # as it was when it was counted
    assert samples["e2x_units"]["explain", "explain", "done"] == 2


def test_totals_cost_a_twentieth_of_a_core_at_most() -> None:
    assert wait_s(60.0, 0.1) == 60.0
    assert wait_s(60.0, 30.0) == 600.0
    assert wait_s(0.0, 30.0) == 0.0


def test_ten_thousand_hostile_names_make_no_more_series(sqlite_context: Context) -> None:
    context = sqlite_context
    before = set(exposed(context))
    evil = 'a"} 1\ne2x_units{kind="x\\'
    rows = [
        {
            "id": f"{number:064x}",
            "role": Role.POOL,
            "file": f"{number}.png",
            "name": f"{evil}{number}",
            "width_px": 8,
            "height_px": 8,
            "perceptual_hash": "0" * 16,
        }
        for number in range(10_000)
    ]
    due = utc_now()
    of_units = [
        {
            "kind": f'{evil[:20]}{number}"',
            "key": f"k{number}",
            "queue": f"{evil[:20]}{number}",
            "state": "queued",
            "payload": {"image": f"{evil}{number}"},
            "not_before": due,
        }
        for number in range(10_000)
    ]
    with context.sessions.begin() as session:
        session.execute(insert(Image), rows)
        session.execute(insert(Unit), of_units)
        session.add_all([Cycle(policy=evil, budget_boxes=1, state='a"b', trigger=evil)])
        session.flush()
        modes = [
            ModeRow(
                name=f"{evil}{number}", family="missed", label=evil, state="?", opened_cycle_id=1
            )
            for number in range(100)
        ]
        session.add_all(modes)
    found = exposed(context)
    new = {(name, tuple(value for _, value in labels)) for name, labels in set(found) - before}
    assert new == {
        ("e2x_units", ("other", "other", "queued")),
        ("e2x_oldest_waiting_unit_age_seconds", ("other", "other")),
        ("e2x_cycles", ("other",)),
        ("e2x_modes", ("other",)),
    }
    assert figure(found, "e2x_units", kind="other", queue="other", state="queued") == 10_000
    assert figure(found, "e2x_images", role="pool") == 10_000


DYING = """
import os, signal
from services import context, units
wired = context.build()
with wired.sessions.begin() as session:
    assert units.claim(session, {unit_id}, "dying:1", 60.0) is not None
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_units_of_a_killed_worker_are_still_counted(sqlite_context: Context) -> None:
    context = sqlite_context
    with context.sessions.begin() as session:
        unit_id = units.enqueue(session, "scan", "k", {}).id
    ended = subprocess.run(
        [sys.executable, "-c", DYING.format(unit_id=unit_id)],
        env={**os.environ, **environment_of(context.settings)},
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    found = exposed(context)
    assert figure(found, "e2x_units", kind="scan", queue="explain", state="leased") == 1
    assert figure(found, "e2x_leases", kind="scan", state="live") == 1
    later = utc_now() + timedelta(seconds=90)
    with clock(lambda: later):
        found = exposed(context)
    assert figure(found, "e2x_leases", kind="scan", state="live") == 0
    assert figure(found, "e2x_leases", kind="scan", state="expired") == 1


def test_a_database_that_does_not_answer_is_said_and_hides_nothing_else(tmp_path: Any) -> None:
    context = make_context(tmp_path / "project", "sqlite:////nowhere/at/all.db")
    parts = {
        "database": DatabaseReader(context).read,
        "disk": lambda: {of.DISK_FREE.name: {(): 5.0}},
    }
    text = Exposition(parts).text().decode()
    assert 'e2x_part_up{part="database"} 0.0' in text
    assert 'e2x_part_up{part="disk"} 1.0' in text
    assert "e2x_disk_free_bytes 5.0" in text
    assert "e2x_units" not in text
    context.engine.dispose()
