"""TLS to the broker and the database: a certificate of nobody is refused unless it is named."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kombu.exceptions import OperationalError
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import InterfaceError, SQLAlchemyError

from benchmarks.common.databases import Postgres
from benchmarks.common.projects import make_context
from benchmarks.common.waiting import PATIENCE
from services.config import brokers
from services.config.settings import Settings
from services.config.shown import current_settings
from services.db import tls
from services.db.engine import make_engine
from services.worker import redis_server
from services.worker.app import make_app
from tests.certificates import certificate, redis_over_tls

__all__ = ["certificate"]
GROUP = "sentinel://:word@one:26379;sentinel://two;sentinel://three:5/2?master_name=e2x"
PRODUCTION = {"environment": "production", "broker_url": "redis://b", "database_url": "sqlite://"}


@pytest.fixture(scope="module")
def secured(
    certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A Redis server that speaks TLS only; its URL without options."""
    with redis_over_tls(tmp_path_factory.mktemp("redis"), certificate) as url:
        yield url


@pytest.mark.whole
def test_a_broker_of_nobody_is_refused_by_the_client_and_by_celery(
    secured: str, certificate: tuple[Path, Path], tmp_path: Path, sqlite_url: str
) -> None:
    named = f"{secured}?ssl_ca_certs={certificate[0]}"
    for url, good in ((secured, False), (named, True)):
        context = make_context(tmp_path / str(good), sqlite_url, broker_url=url)
        with make_app(context.settings, context.project).connection_for_write() as connection:
            if good:
                connection.ensure_connection(max_retries=1)
                redis_server.client(url).ping()
                continue
            with pytest.raises(redis.ConnectionError, match=r"(?i)certificate"):
                redis_server.client(url).ping()
            with pytest.raises(OperationalError, match=r"(?i)certificate"):
                connection.ensure_connection(max_retries=1, timeout=5 * PATIENCE)
        context.engine.dispose()


def test_a_database_of_nobody_is_refused(
    postgres: Postgres, certificate: tuple[Path, Path], postgres_url: str
) -> None:
    postgres.speak_tls(*certificate)
    ca = f"sslrootcert={certificate[0]}"
    for options in (f"?sslmode=verify-full&{ca}", f"?{ca}", "?sslmode=require"):
        assert is_encrypted(postgres_url + options)
    assert not is_encrypted(f"{postgres_url}?sslmode=disable")
    with pytest.raises(SQLAlchemyError, match=r"(?i)certificate"):
        is_encrypted(f"{postgres_url}?sslmode=verify-full")
    elsewhere = postgres_url.replace("127.0.0.1", "localhost")
    with pytest.raises(SQLAlchemyError, match=r"(?i)certificate"):
        is_encrypted(f"{elsewhere}?sslmode=verify-full&{ca}")


def is_encrypted(url: str) -> bool:
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            return bool(connection.execute(text(query)).scalar())
    finally:
        engine.dispose()


def test_a_database_that_hangs_up_is_out_of_reach() -> None:
    reset = struct.pack("ii", 1, 0)  # closing ends the connection by a reset, as a crash does

    def hang_up() -> None:
        accepted, _ = server.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        accepted.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=hang_up)
        thread.start()
        engine = make_engine(f"postgresql+pg8000://a@127.0.0.1:{server.getsockname()[1]}/b")
        with pytest.raises(InterfaceError, match="hung up"):
            engine.connect()
        thread.join()


def test_a_mode_or_a_file_that_is_none_is_refused() -> None:
    url = "postgresql+pg8000://me@host/e2x"
    with pytest.raises(ValueError, match="sslmode=prefer: there are"):
        tls.connecting(f"{url}?sslmode=prefer")
    with pytest.raises(ValueError, match="cannot be read"):
        tls.connecting(f"{url}?sslrootcert=/no/such/file")
    bare, arguments = tls.connecting(f"{url}?sslmode=disable&application_name=e2x")
    assert dict(bare.query) == {"application_name": "e2x"}
    assert arguments == {"ssl_context": False}
    assert tls.connecting(url)[1] == {}


def test_the_url_of_sentinels_says_what_is_needed() -> None:
    group = brokers.Sentinels.of_url(GROUP)
    assert group.hosts == (("one", 26_379), ("two", 26_379), ("three", 5))
    assert (group.master_name, group.database, group.password) == ("e2x", 2, "word")
    assert "word" not in repr(group)
    url, options = brokers.for_celery(GROUP)
    assert "?" not in url
    assert options["broker_transport_options"]["master_name"] == "e2x"
    assert "broker_use_ssl" not in options
    _, secured = brokers.for_celery(f"{GROUP}&ssl_ca_certs=/ca.pem")
    assert secured["broker_use_ssl"]["ssl_ca_certs"] == "/ca.pem"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"broker_url": "sentinel://one:26379"}, "which master"),
        ({"broker_url": "sentinel://one;redis://two/?master_name=e2x"}, "expected sentinel"),
        (PRODUCTION | {"broker_url": "rediss://b?ssl_cert_reqs=none"}, "could be anybody"),
        (PRODUCTION | {"database_url": "postgresql+pg8000://d?sslmode=require"}, "verify-full"),
    ],
)
def test_what_cannot_be_right_is_refused(settings: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Settings(**settings)


def test_no_word_is_shown(tmp_path: Path) -> None:
    settings = Settings(project=tmp_path, broker_url=f"{GROUP}&sentinel_password=secret")
    shown = next(row.value for row in current_settings(settings) if row.name == "broker_url")
    assert "word@" not in shown
    assert "secret" not in shown
    assert "master_name=e2x" in shown
