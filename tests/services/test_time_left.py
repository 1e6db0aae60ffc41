"""How long the step of a cycle still takes: a range that holds, or that nobody knows yet."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from benchmarks.common.projects import make_unit
from curation.kernel.rates import rate_range
from services.api.app import create_app
from services.context import Context
from services.cycle import time_left
from services.cycle.time_left import TimeLeft, in_words
from services.db.base import utc_now
from services.db.tables import Cycle, CycleState, LabelTask
from tests.services.browser import person
from tests.services.builders import add_champion
from tests.services.commands import CommandLine
from tests.services.label_queue import CAR, TASKS, lease, submit
from tests.services.pages import add_tasks, sign_in


def a_cycle(context: Context, state: CycleState, hours_ago: float = 2.0) -> int:
    with context.sessions.begin() as session:
        begun = utc_now() - timedelta(hours=hours_ago)
        cycle = Cycle(
            policy="random", budget_boxes=9, champion_id=add_champion(session).id, state=state,
            created_at=begun,
        )  # fmt: skip
        session.add(cycle)
        session.flush()
        return cycle.id


def add_units(
    context: Context, cycle: int, kind: str, done: int, waiting: int, every_s: float
) -> None:
    """Units, the last of which has just ended; one ended each so many seconds."""
    now = utc_now()
    with context.sessions.begin() as session:
        for number in range(done + waiting):
            ended = number < done
            at = now - timedelta(seconds=every_s * (done - 1 - number))
            session.add(
                make_unit(
                    key=f"{kind}:{number}", kind=kind, cycle_id=cycle,
                    state="done" if ended else "queued",
                    created_at=now - timedelta(seconds=every_s * done),
                    finished_at=at if ended else None,
                )
            )  # fmt: skip


def left(context: Context, cycle: int) -> TimeLeft | None:
    with context.sessions() as session:
        return time_left.of(session, context, session.get_one(Cycle, cycle))


def test_the_range_holds_the_true_rate_as_often_as_it_says() -> None:
    for mean in (2.0, 7.0, 40.0):
        counts = np.random.default_rng(3).poisson(mean, 4000)
        held = [low <= mean <= high for low, high in (rate_range(c, 1.0) for c in counts if c)]
        assert np.mean(held) >= 0.8
    for wrong in ((0, 1.0), (3, 0.0)):
        with pytest.raises(ValueError, match="no rate"):
            rate_range(*wrong)


def test_units_go_on_at_the_pace_of_the_newest(context: Context) -> None:
    cycle = a_cycle(context, CycleState.EXPLAINING)
    add_units(context, cycle, "explain", 20, 40, 6.0)
    found = left(context, cycle)
    assert found is not None
    assert (found.what, found.done, found.total) == ("units", 20, 60)
    assert found.low_s is not None
    assert found.high_s is not None
    assert 120 < found.low_s < 240 < found.high_s < 480  # 40 units of 6 s

    add_units(context, cycle, "select", 0, 1, 1.0)  # of this kind nothing has ended
    found = left(context, cycle)
    assert found is not None
    assert (found.total, found.words) == (61, "not known yet")


def test_a_stall_makes_it_longer(sqlite_context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    cycle = a_cycle(sqlite_context, CycleState.GATING)
    add_units(sqlite_context, cycle, "verify", 10, 10, 3.0)
    before = left(sqlite_context, cycle)
    later = utc_now() + timedelta(hours=1)
    monkeypatch.setattr(time_left, "utc_now", lambda: later)
    after = left(sqlite_context, cycle)
    assert before is not None
    assert after is not None
    assert (after.low_s or 0) > 10 * (before.low_s or 0)


def test_images_that_people_answer_are_told_too(waiting: Context) -> None:
    with waiting.sessions() as session:
        cycle = session.scalars(select(Cycle)).one()
    assert left(waiting, cycle.id) == TimeLeft("images", 0, TASKS)
    for _ in range(2):
        submit(waiting, *lease(waiting), CAR)
    found = left(waiting, cycle.id)
    assert found is not None
    assert (found.done, found.total) == (2, TASKS)
    assert found.low_s is not None
    assert found.high_s is not None
    assert 0 < found.low_s < found.high_s


def test_a_training_tells_its_steps(sqlite_context: Context) -> None:
    cycle = a_cycle(sqlite_context, CycleState.TRAINING)
    folder = sqlite_context.project.runs / f"train-cycle-{cycle}"
    folder.mkdir(parents=True)
    beat = {"phase": "training", "step": 100, "steps": 400, "eta_s": 900.0}
    (folder / "progress.json").write_text(json.dumps(beat))
    found = left(sqlite_context, cycle)
    assert found is not None
    assert (found.done, found.total, found.words) == (100, 400, "13 to 18 minutes")
    with sqlite_context.sessions.begin() as session:
        session.get_one(Cycle, cycle).state = CycleState.DONE
    assert left(sqlite_context, cycle) is None


@pytest.mark.parametrize(
    ("low_s", "high_s", "words"),
    [
        (0.0, 40.0, "less than a minute"),
        (20.0, 100.0, "at most 2 minutes"),
        (301.0, 580.0, "5 to 10 minutes"),
        (3600.0, 7000.0, "60 to 117 minutes"),
        (7300.0, 20_000.0, "2 to 6 hours"),
        (86_400.0, 400_000.0, "1 to 5 days"),
    ],
)
def test_words_are_as_exact_as_what_is_known(low_s: float, high_s: float, words: str) -> None:
    assert in_words(low_s, high_s) == words


def test_the_start_page_and_the_command_line_tell_it(
    line: CommandLine, served: tuple[Any, str], browser: Any
) -> None:
    switch, url = served
    with line.opened() as context:
        add_tasks(context, 4)
        switch.app = create_app(context)
        with person(browser, url, sign_in(switch.app, "vera", "viewer")) as page:
            page.goto("/")
            step = page.locator("p", has_text="This step")
            assert step.inner_text() == "This step: 0 of 4 images, time left: not known yet"
            page.locator("#live-status", has_text="live").wait_for()
            with context.sessions.begin() as session:
                now = utc_now()
                for task in session.scalars(select(LabelTask).limit(2)):
                    task.state, task.leased_at = "submitted", now - timedelta(minutes=10)
                    task.finished_at = now
            page.locator("p", has_text="2 of 4 images, time left: 3 to").wait_for()
    shown = line.done("cycle", "show").out
    assert "2 of 4 images, time left: 3 to" in shown
    told = line.done("cycle", "show", "--json").json["time_left"]
    assert (told["what"], told["done"], told["total"]) == ("images", 2, 4)
    assert 0 < told["low_s"] < 600 < told["high_s"]
