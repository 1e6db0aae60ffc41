"""Every metric of the service: its name, labels, meaning, and where its figures come from.

Names and units follow the conventions of Prometheus: base units, ``_total`` for what only grows. A
figure that is counted from rows is a gauge, since rows change their state and are deleted: a
counter that shrinks once is taken for one that began anew, and its rate jumps by all there is.

Labels have few values, all of them known to the code; whatever else a row holds counts as
:data:`OTHER`. Names of images, classes, modes and people are never labels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from prometheus_client import Metric as Family
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

OTHER = "other"
"""The label of what the code does not know, such as units of a plug-in that is gone."""


class Kind(StrEnum):
    """How Prometheus takes a metric."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    INFO = "info"


class Source(StrEnum):
    """Who knows."""

    DATABASE = "database"
    WORKERS = "workers, kept in the broker"
    BROKER = "broker"
    PROCESS = "the process that answers"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: without the suffixes that its kind has.
        kind: of metric.
        source: where its figures come from.
        help: one sentence, with the unit where the name has none.
        labels: their names.
        buckets: upper bounds of a histogram, without infinity.
    """

    name: str
    kind: Kind
    source: Source
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def exposed(self) -> tuple[str, ...]:
        """The names that its samples have."""
        match self.kind:
            case Kind.HISTOGRAM:
                return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
            case Kind.COUNTER:
                return (f"{self.name}_total",)
            case Kind.INFO:
                return (f"{self.name}_info",)
            case Kind.GAUGE:
                return (self.name,)


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a histogram holds.

    Attributes:
        counts: of each bucket by itself, the one to infinity last; one more than bounds.
        total: sum of all values.
    """

    counts: tuple[float, ...]
    total: float


Value: TypeAlias = float | Distribution
Figures: TypeAlias = dict[tuple[str, ...], float]
"""Plain figures of one metric by the values of its labels."""
Samples: TypeAlias = dict[str, Mapping[tuple[str, ...], Value]]
"""All figures by metric and by the values of its labels."""

UNIT_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400)
"""From a scan on a GPU to a training of hours."""
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_G, _H = Kind.GAUGE, Kind.HISTOGRAM
_DB, _W, _B, _P = Source.DATABASE, Source.WORKERS, Source.BROKER, Source.PROCESS

UNITS = Metric("e2x_units", _G, _DB, "Units of work.", ("kind", "queue", "state"))
OLDEST_UNIT = Metric(
    "e2x_oldest_waiting_unit_age_seconds",
    _G,
    _DB,
    "How long the unit that has waited longest could have been taken; 0: none waits.",
    ("kind", "queue"),
)
LEASES = Metric(
    "e2x_leases",
    _G,
    _DB,
    "Units that a worker has; `expired`: its lease ran out, and nobody has freed the unit yet.",
    ("kind", "state"),
)
OUTBOX = Metric("e2x_outbox_messages", _G, _DB, "Messages that the relay has not sent yet.")
OUTBOX_AGE = Metric(
    "e2x_outbox_oldest_age_seconds", _G, _DB, "How long the oldest of them could have been sent."
)
CYCLES = Metric("e2x_cycles", _G, _DB, "Cycles; at most one is in no final state.", ("state",))
CYCLE_AGE = Metric("e2x_cycle_age_seconds", _G, _DB, "Since the running cycle began; 0: none runs.")
VERDICTS = Metric(
    "e2x_gate_verdicts",
    _G,
    _DB,
    "Cycles whose challenger the gate has judged, by what came of it.",
    ("verdict",),
)
TASKS = Metric("e2x_label_tasks", _G, _DB, "Label tasks.", ("state",))
TASK_AGE = Metric(
    "e2x_oldest_open_label_task_age_seconds",
    _G,
    _DB,
    "Since the oldest label task without an answer was asked; 0: all are answered.",
)
MODES = Metric("e2x_modes", _G, _DB, "Failure modes.", ("state",))
CHAMPION_PRESENT = Metric(
    "e2x_champion_present", _G, _DB, "1: there is a model in use, 0: there is none."
)
CHAMPION = Metric(
    "e2x_champion",
    Kind.INFO,
    _DB,
    "The model in use: its number, and the beginning of its version.",
    ("number", "version"),
)
IMAGES = Metric("e2x_images", _G, _DB, "Images of the project.", ("role",))
FAILURES = Metric("e2x_failures", _G, _DB, "Failures, each model's own.", ("state",))
FAILURES_FOUND = Metric(
    "e2x_failures_found", Kind.COUNTER, _DB, "Failures that were ever found, each model's own."
)
INDEX_IMAGES = Metric(
    "e2x_index_images",
    _G,
    _DB,
    "Pool images with an embedding, by whether the index has them.",
    ("state",),
)
INDEX_REGIONS = Metric("e2x_index_regions", _G, _DB, "Regions that the index holds.")
UNIT_SECONDS = Metric(
    "e2x_unit_seconds",
    _H,
    _W,
    "From when a worker took a unit to the end of that try: `done`, `queued` (it failed and comes "
    "again), `dead`, `lost` (another had taken it), `given_back` (the worker was told to stop).",
    ("kind", "outcome"),
    UNIT_BUCKETS,
)
WAIT_SECONDS = Metric(
    "e2x_unit_wait_seconds",
    _H,
    _W,
    "From when a unit could be taken until a worker took it.",
    ("kind",),
    UNIT_BUCKETS,
)
GPU_USED = Metric(
    "e2x_gpu_memory_used_bytes",
    _G,
    _W,
    "GPU memory in use by whoever, as a worker saw it after its last unit.",
    ("host", "gpu"),
)
GPU_SIZE = Metric("e2x_gpu_memory_size_bytes", _G, _W, "Memory of that GPU.", ("host", "gpu"))
GPU_RESERVED = Metric(
    "e2x_gpu_memory_reserved_bytes",
    _G,
    _W,
    "What PyTorch holds of it in all worker processes.",
    ("host", "gpu"),
)
RELAYS = Metric("e2x_relays", _G, _B, "Relays that have given a sign of life lately.")
SCHEDULERS = Metric("e2x_schedulers", _G, _B, "Schedulers that have.")
WORKERS = Metric("e2x_workers", _G, _B, "Workers that have, by the queue they serve.", ("queue",))
REQUEST_SECONDS = Metric(
    "e2x_http_request_seconds",
    _H,
    _P,
    "Requests to this API process, by the route's template.",
    ("method", "route", "code"),
    REQUEST_BUCKETS,
)
DISK_FREE = Metric(
    "e2x_disk_free_bytes", _G, _P, "Free space for this user on the disk of the project."
)
DISK_SIZE = Metric("e2x_disk_size_bytes", _G, _P, "Size of that disk.")
PART_UP = Metric(
    "e2x_part_up",
    _G,
    _P,
    "1: this part answered; 0: it did not, and the metrics that come from it are missing.",
    ("part",),
)
PART_SECONDS = Metric(
    "e2x_part_read_seconds", _G, _P, "How long this part took to answer.", ("part",)
)

DRIFT = Metric(
    "e2x_drift_detected",
    Kind.GAUGE,
    Source.DATABASE,
    "1 where the newest day that was judged has drifted, else 0.",
)
DRIFT_DISTANCE = Metric(
    "e2x_drift_distance",
    Kind.GAUGE,
    Source.DATABASE,
    "How far field frames of the newest day that was judged are from the reference, in 0..1.",
    ("figure",),
)
DRIFT_AGE = Metric(
    "e2x_drift_day_age_seconds",
    Kind.GAUGE,
    Source.DATABASE,
    "Seconds since the newest day of field frames was judged; 0 where none was.",
)

METRICS: dict[str, Metric] = {
    metric.name: metric for metric in list(globals().values()) if isinstance(metric, Metric)
}
"""All of them by name, in the order of this file."""


def bounded(value: str, known: Collection[str]) -> str:
    """A label that is one of those known, or :data:`OTHER`."""
    return value if value in known else OTHER


def family(metric: Metric, values: Mapping[tuple[str, ...], Value]) -> Family:
    """The samples of one metric as prometheus_client writes them.

    Args:
        metric: what they are of.
        values: by the values of its labels.
    """
    match metric.kind:
        case Kind.HISTOGRAM:
            return _histogram(metric, values)
        case Kind.INFO:
            info = InfoMetricFamily(metric.name, metric.help)
            for labels in values:
                info.add_metric((), dict(zip(metric.labels, labels, strict=True)))
            return info
        case Kind.COUNTER | Kind.GAUGE:
            kind = CounterMetricFamily if metric.kind == Kind.COUNTER else GaugeMetricFamily
            plain = kind(metric.name, metric.help, labels=metric.labels)
            for labels, value in values.items():
                assert not isinstance(value, Distribution)
                plain.add_metric(labels, value)
            return plain


def _histogram(metric: Metric, values: Mapping[tuple[str, ...], Value]) -> Family:
    histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    bounds = [*(str(float(bound)) for bound in metric.buckets), "+Inf"]
    for labels, value in values.items():
        assert isinstance(value, Distribution)
        so_far = [sum(value.counts[: place + 1]) for place in range(len(bounds))]
        histogram.add_metric(labels, list(zip(bounds, so_far, strict=True)), value.total)
    return histogram
