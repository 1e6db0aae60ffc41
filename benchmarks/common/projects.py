"""Builders of rows and projects that many tests need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.config.project import Project
from services.config.settings import PROJECT_FILE, Settings
from services.context import Context, sessions_of
from services.db.engine import make_engine
from services.db.tables import Model, ModelState, Unit

QUICK_WORKERS = {
    "lease_s": 2.0,
    "backoff_s": 0.05,
    "relay_interval_s": 0.05,
    "reconcile_interval_s": 0.5,
    "resend_after_s": 1.5,
}
"""Worker settings under which a lost message or worker is found within seconds."""


def make_project(root: Path) -> Project:
    """An empty project folder."""
    root.mkdir(parents=True, exist_ok=True)
    (root / PROJECT_FILE).touch()
    project = Project(root)
    project.make()
    return project


def make_context(root: Path, database_url: str, **settings: Any) -> Context:
    """The wiring of a new project on a database that has its tables."""
    project = make_project(root)
    wired = Settings(project=root, database_url=database_url, **settings)
    engine = make_engine(database_url)
    return Context(wired, project, engine, sessions_of(wired, engine))


def make_unit(**values: Any) -> Unit:
    """A queued unit that is not in a session."""
    return Unit(**{"kind": "scan", "key": "scan:1", "queue": "explain", "payload": {}, **values})


def make_model(number: int = 1, **values: Any) -> Model:
    """A registered model that is not in a session; nothing lies in its folder."""
    return Model(
        **{
            "id": f"{number:064x}",
            "number": number,
            "state": ModelState.CHALLENGER,
            "folder": f"models/{number}",
            "architecture": "ssdlite_efficientnet_lite0",
            "class_names": ["background", "car"],
            **values,
        }
    )
