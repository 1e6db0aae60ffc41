"""What every part of the service is handed: settings, folders and sessions."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from services.config.hosts import open_host
from services.config.project import Project
from services.config.settings import Settings, get_settings
from services.db import patience
from services.db.engine import Sessions, database_url, make_engine, make_sessions


@dataclass(frozen=True, slots=True)
class Context:
    """The wiring of one process; built once by :func:`build`, passed on explicitly."""

    settings: Settings
    project: Project
    engine: Engine
    sessions: Sessions


def build(settings: Settings | None = None) -> Context:
    """Wire up the project that the settings name; the database must have been migrated.

    An empty folder becomes this host's where the variables say all that counts, whatever process is
    the first there, see :func:`services.config.hosts.open_host`.
    """
    settings = settings or get_settings()
    project = open_host(settings)
    engine = make_engine(database_url(settings, project))
    return Context(settings, project, engine, sessions_of(settings, engine))


def sessions_of(settings: Settings, engine: Engine) -> Sessions:
    """Sessions that know how patient the workers are set to be."""
    workers = settings.workers
    info = {patience.INFO: patience.Patience.of_settings(workers)}
    return make_sessions(engine, workers.max_attempts, info)
