"""URLs of brokers: what Celery takes, and what a client of Redis takes, of the same setting.

Beside ``redis://`` and ``rediss://`` there are Sentinels, as Celery writes them, with the name of
the master that they watch::

    sentinel://:password@one:26379;sentinel://two:26379;sentinel://three:26379/0?master_name=e2x

``password`` is Redis' own; ``sentinel_password`` that of the Sentinels. ``ssl_ca_certs=FILE`` in
the query means TLS to both. Certificates are checked unless ``ssl_cert_reqs=none`` says not to:
Celery by itself would take any.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

SENTINEL, TLS = "sentinel://", "rediss://"
CHECKED = "required"
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Where the master of a group is asked for.

    Attributes:
        hosts: of the Sentinels.
        master_name: what they call the master.
        database: its number.
        username: at Redis; None: the default user.
        password: at Redis.
        sentinel_password: at the Sentinels.
        tls: options of redis' TLS connection; empty: without TLS.
    """

    hosts: tuple[tuple[str, int], ...]
    master_name: str
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)
    tls: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of_url(url: str) -> Sentinels:
        """What a URL says.

        Raises:
            ValueError: it names no host or no master.
        """
        whole, _, query = url.partition("?")
        parts = [urlsplit(one) for one in whole.split(";")]
        options = dict(parse_qsl(query))
        hosts = tuple((one.hostname or "", one.port or 26_379) for one in parts)
        if not all(host for host, _ in hosts) or any(one.scheme != "sentinel" for one in parts):
            raise ValueError("expected sentinel://host:26379;sentinel://host:26379;…")
        if not options.get("master_name"):
            raise ValueError("which master? add ?master_name=… to the Sentinels' URL")
        first = parts[0]
        path = next((one.path.strip("/") for one in parts if one.path.strip("/")), "0")
        return Sentinels(
            hosts,
            options["master_name"],
            int(path),
            unquote(first.username) if first.username else None,
            unquote(first.password) if first.password else None,
            options.get("sentinel_password"),
            tls_of(options),
        )

    @property
    def for_sentinels(self) -> dict[str, Any]:
        """Options of the connections to the Sentinels themselves."""
        timed = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
        secured = {"ssl": True, **self.tls} if self.tls else {}
        word = {"password": self.sentinel_password} if self.sentinel_password else {}
        return {**timed, **secured, **word}


def tls_of(options: dict[str, str]) -> dict[str, Any]:
    """Options of a TLS connection in the query of a URL, with certificates checked."""
    found: dict[str, Any] = {
        name: text for name, text in options.items() if name.startswith("ssl_")
    }
    return {"ssl_cert_reqs": CHECKED, **found} if found else {}


def checked(url: str) -> str:
    """A URL that has certificates checked where it says nothing about that."""
    if not url.startswith(TLS) or "ssl_cert_reqs=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs={CHECKED}"


def for_celery(url: str) -> tuple[str, dict[str, Any]]:
    """A URL as Celery takes it, and options of its transport and of TLS."""
    if not url.startswith(SENTINEL):
        return checked(url), {}
    group = Sentinels.of_url(url)
    options: dict[str, Any] = {
        "broker_transport_options": {
            "master_name": group.master_name,
            "sentinel_kwargs": group.for_sentinels,
            "socket_timeout": TIMEOUT_S,  # one that is cut off says nothing
        }
    }
    if group.tls:
        reqs = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, CHECKED: ssl.CERT_REQUIRED}
        options["broker_use_ssl"] = {**group.tls, "ssl_cert_reqs": reqs[group.tls["ssl_cert_reqs"]]}
    return url.partition("?")[0], options


def unsafe(url: str) -> str:
    """What production refuses of a broker's URL; "" if nothing."""
    wish = dict(parse_qsl(url.partition("?")[2])).get("ssl_cert_reqs", CHECKED)
    if wish not in (CHECKED, "CERT_REQUIRED"):
        return f"ssl_cert_reqs={wish}: the broker could be anybody"
    return ""


def wrong(url: str) -> str:
    """What is wrong with a broker's URL; "" if nothing is seen."""
    if not url.startswith(SENTINEL):
        return ""
    try:
        Sentinels.of_url(url)
    except ValueError as error:
        return str(error)
    return ""
