"""The page to label on as its tests see it: what it shows, and what became of the tasks."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from services.api.app import create_app
from services.context import Context
from services.db.base import utc_now
from services.db.tables import Annotation, LabelTask


@pytest.fixture
def site(sqlite_context: Context, served: tuple[Any, str]) -> tuple[Any, str]:
    """The application with ten tasks, and where it listens."""
    switch, url = served
    switch.app = create_app(sqlite_context)
    return switch.app, url


def answers_of(context: Context) -> list[Annotation]:
    with context.sessions() as session:
        return list(session.scalars(select(Annotation).order_by(Annotation.id)))


def states_of(context: Context) -> list[str]:
    with context.sessions() as session:
        return list(session.scalars(select(LabelTask.state).order_by(LabelTask.id)))


def is_free(context: Context) -> bool:
    """Whether somebody else may have the only task: its page may have wished again, too late."""
    with context.sessions() as session:
        (task,) = session.scalars(select(LabelTask))
        return task.lease_until is None or task.lease_until < utc_now()


def shown(page: Any, number: int) -> None:
    page.locator("#status", has_text=f"Image {number}").wait_for()
    page.locator("[data-do=submit]:enabled").wait_for()
