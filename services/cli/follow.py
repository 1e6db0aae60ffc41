"""Watching work that other processes do, those that are up or ones started to do it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.cli.common import Screen
from services.cycle import time_left
from services.db.engine import reading
from services.db.tables import (
    FINISHED_CYCLES,
    OPEN_TASKS,
    TERMINAL,
    Cycle,
    CycleState,
    LabelTask,
    Unit,
)

if TYPE_CHECKING:
    from services.context import Context

POLL_S = 0.3
LINE_S = 15.0
LEFT_S = 5.0
"""Between two estimates of the time left, which ask more of the database than a count."""
RESTING = (*FINISHED_CYCLES, CycleState.LABELLING)
"""Where a cycle goes no further by itself."""


@contextmanager
def progress(console: Console | None = None) -> Iterator[Progress]:
    """Bars on standard error, so that standard output stays for results.

    Where that is no terminal, such as the log of a job, bars are drawn once at their end; until
    then a line tells now and then how far each is.
    """
    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description:<34}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    console = console or Screen(stderr=True)
    with Progress(*columns, console=console) as bars:
        if console.is_terminal:
            yield bars
            return
        ended = threading.Event()
        teller = threading.Thread(target=_tell, args=(bars, console, ended), daemon=True)
        teller.start()
        try:
            yield bars
        finally:
            ended.set()
            teller.join()


def _tell(bars: Progress, console: Console, ended: threading.Event) -> None:
    """A line for each bar that has moved, as often as a reader of logs cares."""
    told: dict[TaskID, float] = {}
    while not ended.wait(LINE_S):
        for task in bars.tasks:
            if not task.finished and told.get(task.id) != task.completed:
                told[task.id] = task.completed
                total = "" if task.total is None else f"/{task.total:.0f}"
                note = task.fields.get("note") or ""
                console.print(
                    f"{task.description}: {task.completed:.0f}{total} {note}".rstrip(),
                    markup=False,
                    soft_wrap=True,
                )


def may_be_up(context: Context) -> bool:
    """Whether workers run here, or can run elsewhere, at a broker that others reach too."""
    from services.worker.supervisor import running

    return bool(context.settings.broker_url) or running(context.project) is not None


@contextmanager
def workers(context: Context, console: Console) -> Iterator[None]:
    """The project's services for the length of a block: those that are up, or ones of our own."""
    from services.config import explainers
    from services.worker.supervisor import Supervisor

    explainers.check(context.settings.explanation)
    if may_be_up(context):
        yield
        return
    console.print(
        "the services are not up: starting workers for the length of this command", style="dim"
    )
    with Supervisor(context, api=False) as up:
        up.wait_ready()
        yield


def show_beat(bars: Progress, task: TaskID, beat: dict[str, Any] | None, left: str = "") -> None:
    """Put the progress of a training process on its bar, and how long it still takes."""
    if not beat or "steps" not in beat:
        return
    note = ", ".join(
        f"{title} {beat[name]:.3f}" if isinstance(beat[name], float) else f"{title} {beat[name]}"
        for title, name in (("epoch", "epoch"), ("loss", "loss"), ("validation AP50", "ap50"))
        if beat.get(name) is not None
    )
    told = ", ".join(filter(None, (note, left)))
    bars.update(task, completed=int(beat["step"]), total=int(beat["steps"]), note=told)


def follow_cycle(
    context: Context,
    cycle_id: int,
    bars: Progress,
    through_labels: bool = False,
    timeout_s: float | None = None,
) -> Cycle:
    """Return when the cycle waits for labels or has ended; one bar a state.

    Args:
        context: wiring.
        cycle_id: which.
        bars: where to show it.
        through_labels: go on waiting while people label.
        timeout_s: return after so many seconds in any case; None: never.
    """
    resting = FINISHED_CYCLES if through_labels else RESTING
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    state, task, most = "", TaskID(0), 0
    left, told_s = "", -LEFT_S
    while True:
        with reading(context.sessions) as session:
            cycle = session.get_one(Cycle, cycle_id)
            done, total, most = _counts(session, cycle, most)
            if time.monotonic() - told_s >= LEFT_S or cycle.state != state:
                left, told_s = _left(session, context, cycle), time.monotonic()
        if cycle.state != state:
            if state:
                _complete(bars, task)
            state = cycle.state
            if state in resting:
                return cycle
            task = bars.add_task(f"cycle {cycle_id}: {state}", total=None, note="")
        if state == CycleState.TRAINING:
            _show_training(context, cycle_id, bars, task, left)
        else:
            bars.update(task, completed=done, total=total or None, note=left)
        if deadline is not None and time.monotonic() > deadline:
            return cycle
        time.sleep(POLL_S)


def follow_unit(
    context: Context, unit_id: int, bars: Progress, title: str, look: Callable[[TaskID], None]
) -> Unit:
    """Return the unit when it has ended; ``look`` is called meanwhile, to move the bar."""
    task = bars.add_task(title, total=None, note="")
    while True:
        with reading(context.sessions) as session:
            unit = session.get_one(Unit, unit_id)
        look(task)
        if unit.state in TERMINAL:
            _complete(bars, task)
            return unit
        time.sleep(POLL_S)


def _counts(session: Session, cycle: Cycle, most: int) -> tuple[int, int, int]:
    """Done, all, and the most evidence that was seen to be waited for.

    Label tasks while people label; while evidence comes in, what waited when watching began or
    since; else units of the cycle.
    """
    if cycle.state == CycleState.EXPLAINING:
        from services.cycle import cycle_units

        waiting = cycle_units.evidence_waiting(session, cycle)
        most = max(most, waiting)
        return most - waiting, most, most
    if cycle.state == CycleState.LABELLING:
        tasks = select(func.count()).where(LabelTask.cycle_id == cycle.id)
        done = session.scalar(tasks.where(LabelTask.state.not_in(OPEN_TASKS)))
        return done or 0, session.scalar(tasks) or 0, most
    units = select(func.count()).where(Unit.cycle_id == cycle.id)
    done = session.scalar(units.where(Unit.state.in_(TERMINAL)))
    return done or 0, session.scalar(units) or 0, most


def _left(session: Session, context: Context, cycle: Cycle) -> str:
    """How long the step still takes; "" where nobody knows yet."""
    left = time_left.of(session, context, cycle)
    return "" if left is None or left.words == time_left.UNKNOWN else f"{left.words} left"


def _show_training(
    context: Context, cycle_id: int, bars: Progress, task: TaskID, left: str
) -> None:
    from services.models.training_process import read_progress

    # The folder's name is that of services.models.training.run_name, which would load PyTorch here.
    show_beat(bars, task, read_progress(context.project.runs / f"train-cycle-{cycle_id}"), left)


def _complete(bars: Progress, task: TaskID) -> None:
    row = next(row for row in bars.tasks if row.id == task)
    total = max(row.total or row.completed, 1)
    bars.update(task, completed=total, total=total, note="")
