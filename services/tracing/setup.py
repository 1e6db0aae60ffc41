"""Where spans of this process go: to a collector, by a thread that nobody waits for."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from services.config.settings import Settings
from services.tracing import spans
from services.troubles import Troubles

logger = logging.getLogger(__name__)

VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""OpenTelemetry's own, which a whole cluster may have set."""
TIMEOUT_S = 5.0
"""A collector that takes longer is away, unless ``OTEL_EXPORTER_OTLP_TIMEOUT`` says otherwise."""
DELAY_MS = 1000
"""Between two exports: a process that is killed loses the spans of so long."""
END_S = 2.0
"""How long a process that ends waits for its last spans to leave."""
NOISY = "opentelemetry.exporter.otlp.proto.http.trace_exporter"

_provider: Any = None


def endpoint_of(settings: Settings) -> str | None:
    """Where spans go; None: nowhere."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    named = (os.environ.get(name) for name in VARIABLES)
    return settings.telemetry.traces_endpoint or next(filter(None, named), None)


def configure(process: str, settings: Settings) -> bool:
    """Have this process send its spans, where an endpoint is set; to be called after a fork.

    Args:
        process: its name, such as ``api``.
        settings: of the project.

    Returns:
        Whether it does. It does not where OpenTelemetry is not installed, which is said.
    """
    global _provider
    end()
    if endpoint_of(settings) is None:
        return False
    try:
        _provider = _made(process, settings)
    except ImportError as error:
        logger.warning("no traces, though an endpoint is set: %s; pip install 'e2x[traces]'", error)
        return False
    spans.use(_provider.get_tracer("e2x", version("e2x")))
    return True


def end() -> None:
    """Send what is left, for :data:`END_S` at most, and make no more spans."""
    global _provider
    provider, _provider = _provider, None
    spans.use(None)
    if provider is not None:
        # By a thread that may be left behind: a collector that is away must not keep a process.
        leaving = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        leaving.start()
        leaving.join(END_S)


def _made(process: str, settings: Settings) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    given = os.environ.get
    resource = Resource.create(
        {
            "service.name": given("OTEL_SERVICE_NAME") or f"e2x-{process}",
            "service.namespace": "e2x",
            "service.version": version("e2x"),
            "service.instance.id": f"{os.uname().nodename}:{os.getpid()}",
            "e2x.project": settings.resolved_project().name,
        }
    )
    timed = given("OTEL_EXPORTER_OTLP_TIMEOUT") or given("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
    exporter = OTLPSpanExporter(
        endpoint=settings.telemetry.traces_endpoint or None, timeout=None if timed else TIMEOUT_S
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    delay = None if given("OTEL_BSP_SCHEDULE_DELAY") else DELAY_MS
    provider.add_span_processor(
        BatchSpanProcessor(_exporter(exporter), schedule_delay_millis=delay)
    )
    return provider


def _exporter(inner: Any) -> Any:
    """An exporter that says once that the collector is away, and once that it is back."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    said = _LastWord()
    logging.getLogger(NOISY).addFilter(said)
    troubles = Troubles(logger)

    class SaidOnce(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            try:
                result: SpanExportResult = inner.export(spans)
            except Exception as error:  # whatever it is, the spans are lost and nothing else
                troubles.met("the collector of traces", error)
                return SpanExportResult.FAILURE
            if result is SpanExportResult.SUCCESS:
                troubles.over("the collector of traces")
            else:
                troubles.met(
                    "the collector of traces", ConnectionError("spans are lost: " + said.text)
                )
            return result

        def shutdown(self) -> None:
            inner.shutdown()

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return bool(inner.force_flush(timeout_millis))

    return SaidOnce()


class _LastWord(logging.Filter):
    """Keeps what the library would say at each export, so that it can be said once."""

    text = "it does not answer"

    def filter(self, record: logging.LogRecord) -> bool:
        """Nothing passes."""
        if record.levelno >= logging.ERROR:
            self.text = record.getMessage().partition("\n")[0][:200]
        return False
