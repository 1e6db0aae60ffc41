"""How long the requests to one API process take, by the template of their route."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import MutableMapping
from typing import Any

from services.telemetry import catalogue as of
from services.telemetry.catalogue import Distribution, Samples, bounded

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
UNROUTED = "none"
"""What was refused before routing, and what has no address: never the path that somebody sent."""


class Requests:
    """Counts the requests of one process.

    Args:
        prefix: of the routes of included routers: whether a route's own template has it depends on
            the version of FastAPI.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str, str], list[float]] = {}
        self._seconds: dict[tuple[str, str, str], float] = {}

    def observe(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        """Count a request.

        Args:
            scope: the one that routing was given, which names the route that it found.
            status: of the answer.
            seconds: from the head of the request to the end of the answer.
        """
        labels = (bounded(scope["method"], METHODS), self.template(scope), str(status))
        with self._lock:
            empty = [0.0] * (len(of.REQUEST_BUCKETS) + 1)
            counts = self._counts.setdefault(labels, empty)
            counts[bisect_left(of.REQUEST_BUCKETS, seconds)] += 1
            self._seconds[labels] = self._seconds.get(labels, 0.0) + seconds

    def template(self, scope: MutableMapping[str, Any]) -> str:
        """The route that was found for a scope, as a template; :data:`UNROUTED` for none."""
        route = str(getattr(scope.get("route"), "path_format", None) or UNROUTED)
        included = scope["path"].startswith(f"{self._prefix}/")
        if route == UNROUTED or not included or route.startswith(f"{self._prefix}/"):
            return route
        return self._prefix + route

    def read(self) -> Samples:
        """All that were counted."""
        with self._lock:
            found: dict[tuple[str, ...], of.Value] = {
                labels: Distribution(tuple(counts), self._seconds[labels])
                for labels, counts in sorted(self._counts.items())
            }
        return {of.REQUEST_SECONDS.name: found}
