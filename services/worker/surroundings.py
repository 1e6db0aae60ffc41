"""What the processes of a project meet on their machine: a port, an outside broker.

No process can mend these, so that they are looked at before the first one starts.
"""

from __future__ import annotations

import socket

from services.config.setting_groups import ApiSettings
from services.errors import ToolUnavailable
from services.worker import redis_server

BROKER_S = 5.0
"""How long a configured broker may take to answer; it may be starting at the same time."""


def free_port(settings: ApiSettings) -> int:
    """The port that is set, or a free one where none is."""
    if settings.port:
        return settings.port
    with socket.socket() as probe:
        probe.bind((settings.host, 0))
        port: int = probe.getsockname()[1]
        return port


def require_port(host: str, port: int) -> None:
    """Refuse a port that another program has: it would answer in the place of the API.

    Raises:
        ToolUnavailable: nothing can listen there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the API does
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ToolUnavailable(
                f"the API cannot listen on {host}:{port} ({error.strerror}): stop what does, or "
                "set api.port to another, 0 for any that is free"
            ) from error


def require_broker(url: str) -> None:
    """Refuse a broker that does not answer.

    Raises:
        ToolUnavailable: it does not.
    """
    try:
        redis_server.wait_ready(url, BROKER_S)
    except ToolUnavailable:  # its words hold the URL, and that may hold a password
        raise ToolUnavailable(
            "the configured broker does not answer: start it, or look at broker_url"
        ) from None
