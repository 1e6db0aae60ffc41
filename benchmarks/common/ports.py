"""Ports for servers that are stopped and started again while others run."""

from __future__ import annotations

import secrets
import socket

LOWEST, NUMBER = 10_000, 12_000
"""Below those that Linux gives to outgoing connections (32768 and up): one of them could take the
port of a server while it is down."""


def free_ports(count: int, beside: int = 0) -> list[int]:
    """Different ports of the loopback interface on which nothing listens.

    Args:
        count: how many.
        beside: the port with the number of each plus this is free too, at most 10 000.
    """
    found: list[int] = []
    while len(found) < count:
        # Drawn from the system's randomness: processes that test side by side are seeded alike.
        port = LOWEST + secrets.randbelow(NUMBER)
        if port not in found and _is_free(port) and _is_free(port + beside):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
