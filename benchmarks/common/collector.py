"""A collector of traces: OTLP over HTTP, as it comes over the line."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Seen:
    """A span that has arrived; ids are hexadecimal, times in ns."""

    name: str
    trace: str
    span: str
    parent: str
    service: str
    start: int
    end: int
    failed: bool
    values: dict[str, Any]
    links: tuple[str, ...]


class Collector(ThreadingHTTPServer):
    """Takes spans; ``seen`` has them in the order in which they arrived."""

    daemon_threads = True

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        super().__init__(("127.0.0.1", 0), _Taker)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1/traces"

    def named(self, name: str) -> list[Seen]:
        """Those of a name, the earliest first."""
        return sorted((one for one in self.seen if one.name == name), key=lambda one: one.start)

    def has(self, *names: str) -> bool:
        """Whether there is a span of each name."""
        return set(names) <= {one.name for one in self.seen}


class _Taker(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            service = _values(resource.resource.attributes).get("service.name", "")
            for scope in resource.scope_spans:
                self.server.seen += [_seen(span, service) for span in scope.spans]
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _seen(span: Any, service: str) -> Seen:
    return Seen(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        service,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == 2,
        _values(span.attributes),
        tuple(link.trace_id.hex() for link in span.links),
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector, up until the block ends."""
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
