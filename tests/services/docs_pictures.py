"""Pictures of the pages for the documentation, of a copy of a project in which the loop has run.

Nothing in them is drawn for the picture: what is missing is done through the project's own doors. A
task is answered by two people who differ, a mode is renamed, an error analysed, a plan computed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from sqlalchemy import func, select

from services import context as wiring
from services.api.app import create_app
from services.config.settings import Settings
from services.context import Context
from services.cycle import label_tasks
from services.db import actors
from services.db.actors import Actor, Door
from services.db.base import utc_now
from services.db.migrate import upgrade
from services.db.tables import (
    Cycle,
    CycleState,
    DatasetVersion,
    FailureRow,
    LabelTask,
    Model,
    ModeRow,
    TaskState,
    Unit,
    UnitState,
)
from services.failures import asked
from services.failures.asked import What, Wish
from services.labeling import queue
from services.modes import decisions
from services.selection import plans
from services.units.resident import Resident
from services.worker import shell
from tests.services.api_server import serving
from tests.services.browser import barriers, person, until
from tests.services.pages import sign_in

WIDE, HIGH, PHONE = 1280, 860, 390
MOST_BYTES = 120 * 1024
QUALITIES = (82, 74, 66, 58, 50, 40)
READY = {
    "start": "#live-status",
    "label": "[data-do=submit]:enabled",
    "plan": "#plan[data-ready]",
    "analysis": "[data-state=done] img",
    "work": "#parts .tile",
}
"""What a page has when it is complete, of those that change once they are there."""


@contextmanager
def copy_of(project: Path, folder: Path) -> Iterator[Context]:
    """A project elsewhere, to be changed."""
    left_out = shutil.ignore_patterns("*.sock", "redis", "logs", "run")
    shutil.copytree(project, folder, ignore=left_out)
    (folder / "logs").mkdir(exist_ok=True)
    context = wiring.build(Settings(project=folder))
    upgrade(context.engine)
    try:
        yield context
    finally:
        context.engine.dispose()


def prepare(context: Context, num_samples: int | None = None) -> dict[str, str]:
    """Do what the pictures shall show; the address of each page by its picture's name.

    Args:
        context: of a copy.
        num_samples: of the error analysis; None: the method's own number.
    """
    failure = _failure(context)
    _back_to_labelling(context)
    look = _differ(context)
    mode = _rename(context, failure)
    with context.sessions.begin() as session, actors.acting(Actor("anna", Door.WEB)):
        wishes = [Wish(what) for what in (What.CLASS, What.LEFT, What.UP, What.WIDE, What.HIGH)]
        asked.ask(session, context.settings, failure, "gp_shap", wishes, num_samples)
        plans.ask(session, context)
    with context.sessions() as session:
        model = session.scalar(select(func.max(Model.number)))
        version = session.scalars(
            select(DatasetVersion.id)
            .where(DatasetVersion.parent_id.is_not(None))
            .order_by(DatasetVersion.created_at.desc())
        ).first()
    return {
        "start": "/",
        "label": "/label",
        "look": f"/looks/{look}",
        "plan": "/plan",
        "failure": f"/failures/{failure}",
        "analysis": f"/failures/{failure}/analysis",
        "mode": f"/modes/{mode}",
        "model": f"/models/{model}",
        "data": f"/data/{version}",
        "work": "/work",
    }


def work(context: Context) -> None:
    """Do all queued units, as a worker does."""
    resident = Resident()
    while True:
        with context.sessions() as session:
            waiting = select(Unit).where(Unit.state == UnitState.QUEUED).order_by(Unit.id)
            unit = session.scalar(waiting.limit(1))
        if unit is None:
            return
        shell.run(context, resident, unit.id, "pictures")


def take(context: Context, browser: Any, addresses: dict[str, str], out: Path) -> None:
    """Take all pictures; what complains, keeps somebody out or does not fit fails.

    Args:
        context: of the project.
        browser: Chromium.
        addresses: of :func:`prepare`.
        out: folder of ``pages_NAME.jpg``.
    """
    app = create_app(context)
    with serving(app) as (url, _):
        cookie = sign_in(app, "anna", "admin")
        for width in (WIDE, PHONE):
            view = {"width": width, "height": HIGH}
            with person(browser, url, cookie, viewport=view) as page:
                for name, path in addresses.items():
                    _show(page, name, path)
                    found = page.evaluate("document.documentElement.scrollWidth")
                    assert found <= width, f"{path} is {found} px wide"
                    if width == WIDE:
                        assert barriers(page) == [], path
                        _save(page.screenshot(), out / f"pages_{name}.jpg")
                    else:
                        page.screenshot(path=out / f"phone_{name}.png")


def _show(page: Any, name: str, path: str) -> None:
    page.goto(path)
    page.locator(READY.get(name, "main")).first.wait_for()
    until(
        page,
        "[...document.images].every(one => one.complete || one.getBoundingClientRect().top > 900)",
    )


def _save(png: bytes, file: Path) -> None:
    """As good a JPEG as is small enough to be looked at in a page of text."""
    shot = Pillow.open(BytesIO(png)).convert("RGB")
    for quality in QUALITIES:
        data = BytesIO()
        shot.save(data, "jpeg", quality=quality, optimize=True)
        if data.tell() <= MOST_BYTES:
            break
    file.write_bytes(data.getvalue())


def _failure(context: Context) -> str:
    """A failure that was explained, for which images were asked for."""
    with context.sessions() as session:
        for task in session.scalars(select(LabelTask).order_by(LabelTask.id)):
            failure = task.reason.get("failure")
            if failure and session.get_one(FailureRow, failure).mode_id:
                return str(failure)
    raise AssertionError("no image was asked for on account of a failure")


def _back_to_labelling(context: Context) -> None:
    """The newest cycle as it was when half of its images were answered."""
    now = utc_now()
    with context.sessions.begin() as session:
        cycle = session.scalars(select(Cycle).order_by(Cycle.id.desc())).first()
        assert cycle is not None
        cycle.state, cycle.finished_at, cycle.promoted = CycleState.LABELLING, None, None
        cycle.created_at = now - timedelta(hours=2)
        tasks = session.scalars(
            select(LabelTask).where(LabelTask.cycle_id == cycle.id).order_by(LabelTask.id)
        ).all()
        half = len(tasks) // 2
        for number, task in enumerate(tasks):
            task.leased_at = now - timedelta(minutes=1.5 * (half + 1))
            if number < half:
                task.finished_at = now - timedelta(minutes=1.5 * (half - number))
                continue
            task.state, task.annotation_id, task.finished_at = TaskState.WAITING, None, None
            task.owner, task.lease_until, task.note = None, None, None
        session.flush()
        cycle.boxes_labelled = label_tasks.boxes(session, cycle)


def _differ(context: Context) -> int:
    """A task that two people answer differently."""
    labels = context.settings.labels.model_copy(update={"second_look": 1.0})
    twice = replace(context, settings=context.settings.model_copy(update={"labels": labels}))
    number = 0
    for who, moved in (("lena", 0.0), ("omar", 14.0)):
        with context.sessions.begin() as session:
            among = LabelTask.id == number if number else None
            (task,) = queue.lease(session, who, 1, 600, among=among)
        number = task.id
        boxes = [
            {"box": [x1, y1, x2, max(y2 - moved, y1 + 6)], "label": one["label"], "ignore": False}
            for one in task.prelabels
            for x1, y1, x2, y2 in [one["box"]]
        ]
        with context.sessions.begin() as session:
            queue.submit(session, twice, number, task.token, boxes, who)
    return number


def _rename(context: Context, failure: str) -> int:
    """The mode of a failure, renamed by a person."""
    with context.sessions.begin() as session, actors.acting(Actor("cora", Door.WEB)):
        mode = session.get_one(ModeRow, session.get_one(FailureRow, failure).mode_id)
        decisions.rename(
            session, mode.id, f"{mode.label} beside what repeats", "seen in the drives"
        )
        return mode.id
