"""Databases for tests: SQLite in a folder, and a PostgreSQL cluster of our own where installed."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pg8000.dbapi
import psutil
import pytest

from benchmarks.common.ports import free_ports
from services.db import migrate
from services.db.engine import make_engine

BINARIES = Path("/usr/lib/postgresql")
"""Where Debian puts each version's programs."""
ACCOUNT = "postgres"
"""PostgreSQL refuses to run as root; Debian's package brings this account."""


class Postgres:
    """A temporary cluster that listens on the loopback interface only."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._data = folder / "data"
        self._log = folder / "log"
        (self.port,) = free_ports(1)

    def program(self, name: str) -> Path:
        """One of the programs that come with the server."""
        return self._binaries / name

    def start(self) -> None:
        """Make the cluster and start the server."""
        if os.getuid() == 0:
            shutil.chown(self._data.parent, ACCOUNT)
        flags = ["--auth=trust", f"--username={ACCOUNT}", "--no-sync", "--encoding=UTF8"]
        self._run("initdb", f"--pgdata={self._data}", *flags)
        self.run()

    def run(self) -> None:
        """Start the server on its cluster, again after :meth:`stop`."""
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= "
            "-c fsync=off -c max_connections=60"
        )
        self._control("start", f"--log={self._log}", f"--options={options}")

    def speak_tls(self, chain: Path, key: Path) -> None:
        """Offer TLS by a certificate and its key; connections without it stay possible."""
        for path, name in ((chain, "e2x.pem"), (key, "e2x.key")):
            copy = self._data / name
            shutil.copy(path, copy)
            copy.chmod(0o600)
            shutil.chown(copy, ACCOUNT)
        for setting, value in (("cert_file", "e2x.pem"), ("key_file", "e2x.key")):
            self._execute(f"ALTER SYSTEM SET ssl_{setting} = '{value}'")
        self._execute("ALTER SYSTEM SET ssl = on")
        self._control("reload")

    def stop(self) -> None:
        """Stop the server, as a crash would: its next start recovers."""
        self._control("stop", "--mode=immediate")

    def pids(self) -> list[int]:
        """The server's processes."""
        first = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        return [first.pid, *(one.pid for one in first.children(recursive=True))]

    def create_database(self, name: str, template: str = "template1") -> str:
        """A new database; its SQLAlchemy URL."""
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return f"postgresql+pg8000://{ACCOUNT}@127.0.0.1:{self.port}/{name}"

    def drop_database(self, name: str) -> None:
        """Delete a database, also while somebody is connected."""
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        connection = pg8000.dbapi.connect(
            user=ACCOUNT, host="127.0.0.1", port=self.port, database="postgres"
        )
        connection.autocommit = True
        connection.cursor().execute(statement)
        connection.close()

    def _control(self, action: str, *arguments: str) -> None:
        self._run("pg_ctl", f"--pgdata={self._data}", "--wait", action, *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        command: Sequence[str] = [str(self._binaries / program), *arguments]
        if os.getuid() == 0:
            command = ["runuser", "-u", ACCOUNT, "--", *command]
        # Standard output goes nowhere: the server would inherit a pipe and keep it open.
        done = subprocess.run(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        if done.returncode:
            tail = self._log.read_text()[-2000:] if self._log.is_file() else ""
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {tail}")


def postgres_binaries() -> Path | None:
    """The folder with the newest installed server's programs."""
    versions = [p for p in BINARIES.glob("*/bin") if (p / "initdb").is_file()]
    return max(versions, key=lambda p: float(p.parent.name)) if versions else None


def run_postgres() -> Iterator[Postgres]:
    """A started cluster; the test is skipped where none is installed, but fails on CI."""
    binaries = postgres_binaries()
    if binaries is None:
        why = "PostgreSQL is not installed: apt-get install postgresql"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(why)
        pytest.skip(why)
    # Not pytest's own folder: the server's account may not enter it.
    folder = Path("/tmp") / f"e2x-postgres-{secrets.token_hex(6)}"
    folder.mkdir(mode=0o755)
    server = Postgres(binaries, folder)
    try:
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def migrated(url: str) -> str:
    """The URL of a database, with all tables in it."""
    engine = make_engine(url)
    migrate.upgrade(engine)
    engine.dispose()
    return url
