"""Bring a database to the newest schema.

::

    python -m services.db.migrate upgrade              the project's database
    python -m services.db.migrate revision "message"   a new revision from changed tables
    python -m services.db.migrate initial              the first revision again (before a release)
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, text

from services.config.hosts import open_host
from services.config.settings import get_settings
from services.db.engine import database_url, make_engine

FOLDER = Path(__file__).parent / "migrations"
LOCK = 0x653278
"""Key of the PostgreSQL advisory lock: two processes must not migrate at once ("e2x")."""


def upgrade(engine: Engine) -> bool:
    """Create or upgrade all tables; what is up to date stays as it is.

    Several processes may call this at once: SQLite's write lock or a PostgreSQL advisory lock lets
    them in one by one.

    Returns:
        Whether anything had to be done.
    """
    with _rows_may_move(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        config = _config()
        config.attributes["connection"] = connection
        before = _revision(connection)
        command.upgrade(config, "head")
        changed = _revision(connection) != before
        if changed and connection.dialect.name == "sqlite":
            _require_whole(connection)
        return changed


@contextmanager
def _rows_may_move(engine: Engine) -> Iterator[Connection]:
    """A transaction in which a table may be made anew though rows elsewhere refer to its rows.

    SQLite changes most of a table only by a copy that takes its place, and dropping the old one
    while references are looked after counts as deleting what others refer to. Looking after them
    can be switched outside of transactions only.

    Source:
        https://www.sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes".
    """
    is_sqlite = engine.dialect.name == "sqlite"
    with engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        if is_sqlite:
            raw.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                yield connection
        finally:
            if is_sqlite:
                raw.execute("PRAGMA foreign_keys=ON")


def _require_whole(connection: Connection) -> None:
    """Refuse a change after which a row refers to none.

    Raises:
        RuntimeError: there is such a row; the change is taken back.
    """
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(3)
    if broken:
        told = ", ".join(f"{row[0]} {row[1]} (to {row[2]})" for row in broken)
        raise RuntimeError(f"the upgrade would leave rows that refer to nothing: {told}")


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def revise(message: str, revision: str, engine: Engine) -> None:
    """Write a revision that leads from the newest one to the tables as the code has them."""
    with engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        command.revision(config, message, autogenerate=True, rev_id=revision)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config


def _revisions() -> list[Path]:
    return sorted((FOLDER / "versions").glob("[0-9]*.py"))


def main(arguments: list[str]) -> None:
    """The command line of this module, for developers."""
    match arguments:
        case ["upgrade"]:
            settings = get_settings()
            upgrade(make_engine(database_url(settings, open_host(settings))))
        case ["initial"]:
            for file in _revisions():
                file.unlink()
            _revise_scratch("all tables")
        case ["revision", message]:
            _revise_scratch(message)
        case _:
            raise SystemExit(__doc__)


def _revise_scratch(message: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(f"sqlite:///{folder}/scratch.db")
        revise(message, f"{len(_revisions()) + 1:04d}", engine)
        engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1:])
