"""The commands of a cycle on real rows: start, show, cancel, wait."""

from __future__ import annotations

import re
import threading

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from benchmarks.common.waiting import PATIENCE
from services import units
from services.cli import follow
from services.cycle import cycle_units
from services.db.tables import (
    Cycle,
    CycleState,
    Image,
    ModeRow,
    ModeSighting,
    Role,
    Unit,
    UnitState,
)
from tests.services.builders import add_task, make_image
from tests.services.commands import CommandLine

DECISION = {
    "promote": True,
    "checks": [
        {
            "name": "holdout mAP",
            "champion": 0.4,
            "challenger": 0.5,
            "bound": 0.397,
            "passed": True,
            "reason": "it rose",
        },
        {
            "name": "siblings",
            "champion": None,
            "challenger": None,
            "bound": None,
            "passed": None,
            "reason": "there are none",
        },
    ],
}


def test_a_cycle_is_started_shown_and_cancelled(champion: CommandLine) -> None:
    assert "there was no cycle" in champion.refused("cycle", "show")
    started = champion.done("cycle", "start", "--policy", "random", "--budget", "7").out
    assert "the services are not up" in started
    assert "e2x up" in started
    assert "still running" in champion.refused("cycle", "start")
    [row] = champion.done("cycle", "list", "--json").json
    assert (row["policy"], row["budget_boxes"], row["kind"]) == ("random", 7, "full")
    assert "does not wait for labels" in champion.refused("cycle", "train")
    champion.done("cycle", "cancel", "1")
    assert "already" in champion.refused("cycle", "cancel")
    assert champion.done("cycle", "show", "--json").json["state"] == "cancelled"
    assert "cancelled" in champion.refused("cycle", "wait", code=1)
    champion.refused("cycle", "show", "9")


def test_without_a_champion_no_cycle_starts(line: CommandLine) -> None:
    assert "e2x train" in line.refused("cycle", "start")
    assert "champion" in line.done("cycle", "plan").out


@pytest.mark.parametrize("command", ["run", "start"])
def test_a_slip_in_the_explanation_method_leaves_no_cycle_behind(
    champion: CommandLine, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("E2X_EXPLANATION__METHOD", "nosuch")
    assert "no explanation method 'nosuch'" in champion.refused("cycle", command)
    assert champion.done("cycle", "list", "--json").json == []


def test_without_a_holdout_no_cycle_starts(champion: CommandLine) -> None:
    with champion.opened() as context, context.sessions.begin() as session:
        session.execute(update(Image).where(Image.role == Role.HOLDOUT).values(role=Role.SEED))
    lack = "the gate needs a holdout: `e2x import FOLDER --role holdout`"
    assert lack in champion.refused("cycle", "run")
    assert champion.done("cycle", "list", "--json").json == []
    assert lack in champion.done("cycle", "plan", "--json").json["lacks"]


def add_cycle(line: CommandLine, state: CycleState) -> None:
    with line.opened() as context, context.sessions.begin() as session:
        session.add(Cycle(policy="e2x", budget_boxes=9, champion_id=f"{1:064x}", state=state, id=1))
        session.flush()
        session.add(
            ModeRow(id=1, name="missed car 1", family="missed", label="car", opened_cycle_id=1)
        )
        session.flush()
        session.add(ModeSighting(cycle_id=1, mode_id=1, key="k", kind="false_negative", size=4))


def test_the_gate_is_a_table(champion: CommandLine) -> None:
    add_cycle(champion, CycleState.DONE)
    with champion.opened() as context, context.sessions.begin() as session:
        cycle = session.get_one(Cycle, 1)
        cycle.decision, cycle.promoted = DECISION, True
    shown = champion.done("cycle", "show").out
    for word in ("holdout mAP", "0.397", "passed", "skipped", "it rose", "false_negative"):
        assert word in shown
    assert champion.done("cycle", "show", "1", "--json").json["decision"] == DECISION


def test_waiting_ends_where_people_are_asked(champion: CommandLine) -> None:
    add_cycle(champion, CycleState.LABELLING)
    with champion.opened() as context, context.sessions.begin() as session:
        image = make_image(5)
        session.add(image)
        session.flush()
        add_task(session, session.get_one(Cycle, 1), image, None)
    said = champion.done("cycle", "wait").out
    assert "1 images" in said
    assert "labels export --out" in said


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Released whenever the command has looked at its cycle; it may take long to begin."""
    looks, count = threading.Semaphore(0), follow._counts

    def counted(session: Session, cycle: Cycle, most: int) -> tuple[int, int, int]:
        found = count(session, cycle, most)
        looks.release()
        return found

    monkeypatch.setattr(follow, "_counts", counted)
    return looks


def test_waiting_follows_a_cycle_to_its_end(
    champion: CommandLine, monkeypatch: pytest.MonkeyPatch, looked: threading.Semaphore
) -> None:
    # A broker of one's own means that workers run elsewhere: here, in the thread.
    monkeypatch.setenv("E2X_BROKER_URL", "redis://127.0.0.1:1/0")
    add_cycle(champion, CycleState.SELECTING)

    def work() -> None:
        with champion.opened() as context:
            for state in (CycleState.TRAINING, CycleState.GATING, CycleState.DONE):
                assert looked.acquire(timeout=60 * PATIENCE)
                with context.sessions.begin() as session:
                    cycle = session.get_one(Cycle, 1)
                    cycle.state = state
                    if state == CycleState.DONE:
                        cycle.decision, cycle.promoted = DECISION, True

    worker = threading.Thread(target=work)
    worker.start()
    ran = champion.done("cycle", "wait", "1")
    worker.join()
    assert "promoted" in ran.out
    assert "holdout mAP" in ran.out
    assert "gating" in ran.err


def test_the_bar_counts_older_explanations_that_a_cycle_waits_for(
    champion: CommandLine, monkeypatch: pytest.MonkeyPatch, looked: threading.Semaphore
) -> None:
    monkeypatch.setenv("E2X_BROKER_URL", "redis://127.0.0.1:1/0")
    with champion.opened() as context, context.sessions.begin() as session:
        for key in ("a", "b", "c"):
            units.enqueue(session, "explain", f"explain:{key}", {})
    add_cycle(champion, CycleState.EXPLAINING)
    with champion.opened() as context, context.sessions.begin() as session:
        cycle_units.adopt(session, session.get_one(Cycle, 1))

    def work() -> None:
        with champion.opened() as context:
            for number in (1, 2, 3):
                assert looked.acquire(timeout=60 * PATIENCE)
                with context.sessions.begin() as session:
                    session.get_one(Unit, number).state = UnitState.DONE
                    if number == 3:
                        session.get_one(Cycle, 1).state = CycleState.DONE

    worker = threading.Thread(target=work)
    worker.start()
    ran = champion.done("cycle", "wait", "1")
    worker.join()
    assert re.search(r"cycle 1: explaining .* ([23])/\1 ", ran.err)
