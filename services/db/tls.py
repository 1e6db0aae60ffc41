"""TLS to PostgreSQL, said in the URL as libpq says it: pg8000 takes a context of Python instead."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection

OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey")
CHECKED = ("verify-full", "verify-ca")
MODES = ("disable", "require", *CHECKED)


def connecting(url: str) -> tuple[URL, dict[str, Any]]:
    """The URL without its options of TLS, and what the driver is given for them.

    Args:
        url: ``…?sslmode=verify-full&sslrootcert=FILE``; without a file the system's certificates
            are trusted. ``require`` encrypts and takes any certificate; a URL that says nothing
            does so where the server can, and else goes without.

    Raises:
        ValueError: no such mode, or a file cannot be read.
    """
    parsed = make_url(url)
    said = {name: str(parsed.query[name]) for name in OPTIONS if name in parsed.query}
    if not said or not parsed.drivername.endswith("pg8000"):
        return parsed, {}
    bare = parsed.difference_update_query(OPTIONS)
    mode = said.get("sslmode", "verify-full")
    if mode not in MODES:
        raise ValueError(f"database_url: sslmode={mode}: there are {', '.join(MODES)}")
    if mode == "disable":
        return bare, {"ssl_context": False}  # else the driver encrypts where the server can
    try:
        context = ssl.create_default_context(cafile=said.get("sslrootcert"))
        if "sslcert" in said:
            context.load_cert_chain(said["sslcert"], said.get("sslkey"))
    except OSError as error:
        raise ValueError(f"database_url: a file of certificates cannot be read: {error}") from error
    context.check_hostname = mode == "verify-full"
    if mode == "require":
        context.verify_mode = ssl.CERT_NONE
    return bare, {"ssl_context": context}


def connect(
    dialect: Any, _record: Any, arguments: Sequence[Any], named: Mapping[str, Any]
) -> DBAPIConnection:
    """Connect as SQLAlchemy does, and say what goes wrong before the database speaks as its error.

    The driver lets through as they are what TLS says, and a connection that ends while the two
    agree on it, as one does to a server that is starting or going; nobody who waits for a database
    would know them.
    """
    try:
        connection: DBAPIConnection = dialect.connect(*arguments, **named)
    except ssl.SSLError as error:
        why = f"TLS to the database, see sslmode and sslrootcert of database_url: {error}"
        raise dialect.loaded_dbapi.InterfaceError(why) from error
    except OSError as error:
        raise dialect.loaded_dbapi.InterfaceError(f"the database hung up: {error}") from error
    return connection
