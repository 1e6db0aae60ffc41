"""The migrations make exactly the tables that the code has."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, Table, inspect, text

from services.db import migrate
from services.db.engine import make_engine
from services.db.tables import Base


def test_migrated_schema_is_that_of_the_tables(database_url: str) -> None:
    engine = make_engine(database_url)
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    engine.dispose()
    assert found == [], "run `python -m services.db.migrate revision …`"


def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    engine = make_engine(database_url)
    before = inspect(engine).get_table_names()
    migrate.upgrade(engine)
    assert inspect(engine).get_table_names() == before
    engine.dispose()


def test_a_new_database_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    """Each of forty files by six connections in the same moment: no switch of mode is lost."""
    for number in range(40):
        url = f"sqlite:///{tmp_path / f'{number}.db'}"
        barrier, errors = threading.Barrier(6), list[BaseException]()
        threads = [threading.Thread(target=_open, args=(url, barrier, errors)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []


def _open(url: str, barrier: threading.Barrier, errors: list[BaseException]) -> None:
    engine = make_engine(url)
    barrier.wait()
    try:
        with engine.begin() as connection:
            assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    except Exception as error:  # shown by the caller's assert
        errors.append(error)
    engine.dispose()


def test_processes_may_upgrade_at_once(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'e2x.db'}")
    barrier = threading.Barrier(3)
    errors: list[BaseException] = []

    def work() -> None:
        own = make_engine(f"sqlite:///{tmp_path / 'e2x.db'}")
        barrier.wait()
        try:
            migrate.upgrade(own)
        except Exception as error:  # shown by the assert below
            errors.append(error)
        own.dispose()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as connection:
        versions = connection.execute(text("SELECT version_num FROM alembic_version")).all()
    engine.dispose()
    assert errors == []
    assert len(versions) == 1


def test_a_project_of_the_first_schema_is_upgraded_with_all_that_it_has(tmp_path: Path) -> None:
    """SQLite makes tables anew, and others refer to their rows."""
    engine = make_engine(f"sqlite:///{tmp_path / 'e2x.db'}")
    with engine.begin() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        tables = MetaData()
        tables.reflect(connection)
        for name in ("images", "models", "cycles", "modes", "failures", "label_tasks"):
            connection.execute(tables.tables[name].insert(), _row(tables.tables[name]))
    assert migrate.upgrade(engine)
    with engine.connect() as connection:
        for name in ("cycles", "label_tasks", "failures"):
            assert connection.execute(text(f"SELECT count(*) FROM {name}")).scalar() == 1
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall() == []
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    engine.dispose()


def _row(table: Table) -> dict[str, Any]:
    """A row that refers to the first of each table that it has to refer to."""
    of_type = {int: 1, float: 1.0, str: "1", bool: False, datetime: datetime(2026, 1, 2)}
    return {
        column.name: of_type.get(column.type.python_type, [])
        for column in table.columns
        if not column.nullable or column.name == "cycle_id"
    }


def test_a_database_that_was_brought_up_to_date_is_told_from_one_that_was(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/some.db")
    assert migrate.upgrade(engine)
    assert not migrate.upgrade(engine)
    engine.dispose()


def test_the_audit_trail_of_before_accounts_is_kept(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/old.db")
    with engine.begin() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO audit (at, actor, action, subject, detail) "
            "VALUES ('2026-01-02 03:04:05', 'api', 'promote', 'model:1', '{}')"
        )
    assert migrate.upgrade(engine)
    with engine.connect() as connection:
        row = connection.execute(text("SELECT actor, door, user_id FROM audit")).one()
    engine.dispose()
    assert tuple(row) == ("api", None, None)
