"""Who may keep a connection open: so many in all, so many of one address.

A stranger needs no token to connect. When the door is full, whoever has been there longest without
asking for anything goes, so that a thousand connections that say nothing do not keep out the one
that speaks. A connection whose request brought the token is never sent away for another.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Protocol

NETWORK_BITS = 64
"""Of an IPv6 address: whoever has one address has a whole such network."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection may take.

    Attributes:
        connections: at once in all.
        per_client: at once of one address, or of one network of IPv6; 0: as many as in all.
        head_s: seconds until the head of a request must be complete, or the next one begun.
        stall_s: seconds over which the least rate is looked at, and an answer may be left unread.
        least_rate: bytes a second of a body that is awaited.
        max_body: bytes of the largest body; so much, times four, of a body that was refused is
            read and thrown away where the token was right.
    """

    connections: int = 1000
    per_client: int = 256
    head_s: float = 10.0
    stall_s: float = 20.0
    least_rate: int = 500
    max_body: int = 32 * 2**20


class Visitor(Protocol):
    """A connection, as the door sees it."""

    @property
    def answering(self) -> bool:
        """Whether a request has come and is not answered yet."""
        ...

    @property
    def at_work(self) -> bool:
        """Whether that request has the token."""
        ...

    def drop(self) -> None:
        """Close at once."""
        ...


class Door:
    """Counts connections, and chooses who goes when there are too many.

    Args:
        limits: how many.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._inside: dict[Visitor, str] = {}  # the longest idle first
        self._of_client: dict[str, dict[Visitor, None]] = {}

    def __len__(self) -> int:
        """Connections that are open."""
        return len(self._inside)

    def admit(self, visitor: Visitor, address: str) -> bool:
        """Let a connection in, in the place of an idle one if need be; False: there is none.

        Args:
            visitor: the connection.
            address: where it comes from; empty where that is not known.
        """
        client = client_of(address)
        own = self._of_client.setdefault(client, {})
        per_client = self.limits.per_client or self.limits.connections
        room = self._make_room(own, per_client)
        if not room or not self._make_room(self._inside, self.limits.connections):
            self._forget(client)
            return False
        self._inside[visitor] = client
        self._of_client.setdefault(client, {})[visitor] = None
        return True

    def rest(self, visitor: Visitor) -> None:
        """Say that a connection is idle from now on: others go before it."""
        client = self._inside.pop(visitor, None)
        if client is not None:
            self._inside[visitor] = client
            del self._of_client[client][visitor]
            self._of_client[client][visitor] = None

    def release(self, visitor: Visitor) -> None:
        """Forget a connection; once more is harmless."""
        client = self._inside.pop(visitor, None)
        if client is not None:
            del self._of_client[client][visitor]
            self._forget(client)

    def _make_room(self, among: dict[Visitor, str] | dict[Visitor, None], limit: int) -> bool:
        if len(among) < limit:
            return True
        longest = next((visitor for visitor in among if not visitor.answering), None)
        longest = longest or next((visitor for visitor in among if not visitor.at_work), None)
        if longest is None:
            return False
        self.release(longest)
        longest.drop()
        return True

    def _forget(self, client: str) -> None:
        if not self._of_client.get(client, True):
            del self._of_client[client]


def client_of(address: str) -> str:
    """What counts as one client: an IPv4 address, or the network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, NETWORK_BITS), strict=False))
