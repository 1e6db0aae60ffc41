"""What workers count, kept in the broker: how long units wait and take, and the memory of GPUs.

A worker has several processes that come and go, on several hosts; each could keep files of counts,
or listen on a port, and what it had counted would go with it, or be counted for ever. One hash in
the broker has neither trouble: every process adds to the same numbers, whoever looks reads them,
and there are as many as kinds of units have outcomes. A broker that loses them begins at 0, which
Prometheus takes for what it is.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import redis

from services.telemetry import catalogue as of
from services.telemetry.catalogue import Distribution, Kind, Metric, Samples, Source, bounded
from services.telemetry.gpu import Gpu, used
from services.telemetry.pace import Pace
from services.units.pipeline import STAGES

logger = logging.getLogger(__name__)

COUNTS = "e2x:counts"
PACES = "e2x:pace"
"""Seconds that a unit of each kind took lately: the relay sends quick ones together."""
GPUS = "e2x:gpu:"
GPU_KEEP_S = 900
"""A worker that has done nothing for so long says nothing any more about its GPU."""
AGAIN_S = 10.0
"""Before a broker that did not answer is asked again: a unit must not wait for it each time."""
OUTCOMES = ("done", "queued", "dead", "lost", "given_back")
"""Of a try: ``queued`` is a failed one that comes again, ``lost`` one whose lease had run out,
``given_back`` one whose worker was told to stop."""
ENDED = ("done", "queued", "dead")
"""Outcomes of tries that took as long as they take."""
SUM = "sum"


class Recorder:
    """Counts in one process and adds that to what the broker has.

    A broker that is away holds up no unit: what could not be added is kept and added with a later
    unit. An answer that was lost on its way may count a unit twice, and a process that is killed
    takes with it what it could not add.

    Args:
        connect: makes a client of the broker, with a time-out.

    Attributes:
        pace: what units take in this process; the broker is told with the counts.
    """

    def __init__(self, connect: Callable[[], redis.Redis]) -> None:
        self.pace = Pace()
        self._connect = connect
        self._client: redis.Redis | None = None
        self._waiting: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._not_before = 0.0

    def unit(self, kind: str, outcome: str, seconds: float, waited_s: float) -> None:
        """Count a try that has ended.

        Args:
            kind: of the unit.
            outcome: one of :data:`OUTCOMES`.
            seconds: that it took.
            waited_s: how long the unit could have been taken before it was.
        """
        self.note(kind, outcome, seconds, waited_s)
        if outcome in ENDED:
            self.pace.took(kind, seconds)
        self.send()

    def note(self, kind: str, outcome: str, seconds: float, waited_s: float) -> None:
        """The same, to be sent with others by :meth:`send`."""
        kind, outcome = bounded(kind, STAGES), bounded(outcome, OUTCOMES)
        self._observe(of.UNIT_SECONDS, (kind, outcome), seconds)
        self._observe(of.WAIT_SECONDS, (kind,), waited_s)

    def send(self) -> None:
        """Add to what the broker has what was noted and not sent yet."""
        if time.monotonic() < self._not_before:
            return
        try:
            self._send()
        except (redis.RedisError, OSError, ValueError) as error:
            self._not_before = time.monotonic() + AGAIN_S
            logger.debug("counts are kept until the broker answers: %s", error)

    def _observe(self, metric: Metric, labels: tuple[str, ...], value: float) -> None:
        bound = next((str(float(one)) for one in metric.buckets if value <= one), "+Inf")
        self._waiting[json.dumps([metric.name, *labels, bound])] += 1
        self._seconds[json.dumps([metric.name, *labels, SUM])] += value

    def _send(self) -> None:
        if self._client is None:
            self._client = self._connect()
        gpu = used()
        # All or nothing: a histogram whose sum and counts differ has a wrong mean for ever.
        with self._client.pipeline(transaction=True) as pipe:
            for field, count in self._waiting.items():
                pipe.hincrby(COUNTS, field, count)
            for field, seconds in self._seconds.items():
                pipe.hincrbyfloat(COUNTS, field, seconds)
            for kind, seconds in self.pace.changed.items():
                pipe.hset(PACES, kind, str(seconds))
            if gpu is not None:
                key = f"{GPUS}{socket.gethostname()}:{os.getpid()}"
                pipe.set(key, json.dumps(gpu.to_dict()), ex=GPU_KEEP_S)
            pipe.execute()
        self._waiting.clear()
        self._seconds.clear()
        self.pace.changed.clear()


def paces(client: redis.Redis) -> dict[str, float]:
    """How long a unit of each kind took lately, in seconds, as far as a worker has told.

    Raises:
        redis.RedisError: the broker does not answer.
        ValueError: what it holds is none of ours.
    """
    told: Any = client.hgetall(PACES)
    return {kind.decode(): float(seconds) for kind, seconds in told.items()}


def read(client: redis.Redis) -> Samples:
    """What all workers have counted.

    What is no count of ours is left out.

    Raises:
        redis.RedisError: the broker does not answer.
    """
    counted: Any = client.hgetall(COUNTS)
    keys = list(client.scan_iter(match=f"{GPUS}*", count=1000))
    gpus: Any = client.mget(keys) if keys else []
    return {**_histograms(counted), **_memory([value for value in gpus if value is not None])}


def _histograms(counted: Mapping[bytes, bytes]) -> Samples:
    buckets: dict[tuple[str, tuple[str, ...]], list[float]] = {}
    totals: dict[tuple[str, tuple[str, ...]], float] = {}
    for field, value in counted.items():
        known = _known(field)
        if known is None:
            continue
        metric, labels, bound = known
        series = (metric.name, labels)
        counts = buckets.setdefault(series, [0.0] * (len(metric.buckets) + 1))
        if bound == SUM:
            totals[series] = totals.get(series, 0.0) + float(value)
        else:
            counts[sum(one < float(bound) for one in metric.buckets)] += float(value)
    found: dict[str, dict[tuple[str, ...], of.Value]] = {
        name: {}
        for name, metric in of.METRICS.items()
        if metric.kind == Kind.HISTOGRAM and metric.source == Source.WORKERS
    }
    for (name, labels), counts in sorted(buckets.items()):
        found[name][labels] = Distribution(tuple(counts), totals.get((name, labels), 0.0))
    return {**found}


def _known(field: bytes) -> tuple[Metric, tuple[str, ...], str] | None:
    """Metric, labels and bucket of a field; None where it is none of ours."""
    try:
        name, *labels, bound = json.loads(field)
        metric = of.METRICS[name]
        if bound != SUM:
            float(bound)
    except (ValueError, KeyError, TypeError):
        return None
    ours = metric.source == Source.WORKERS and metric.kind == Kind.HISTOGRAM
    if not ours or len(labels) != len(metric.labels):
        return None
    # Of a stage that this process has not loaded: a plug-in's, or another version's.
    allowed = {"kind": STAGES, "outcome": OUTCOMES}
    pairs = zip(metric.labels, labels, strict=True)
    return metric, tuple(bounded(str(one), allowed[name]) for name, one in pairs), bound


def _memory(values: list[bytes]) -> Samples:
    """Of each GPU what its processes have seen of it; what they hold is added up."""
    used_bytes: of.Figures = {}
    size: of.Figures = {}
    reserved: Counter[tuple[str, ...]] = Counter()
    seen: of.Figures = {}
    for one in map(Gpu.from_json, values):
        labels = (one.host, one.gpu)
        reserved[labels] += one.reserved_bytes
        if one.at_s >= seen.get(labels, 0.0):
            seen[labels] = one.at_s
            used_bytes[labels], size[labels] = float(one.used_bytes), float(one.size_bytes)
    return {
        of.GPU_USED.name: used_bytes,
        of.GPU_SIZE.name: size,
        of.GPU_RESERVED.name: {labels: float(held) for labels, held in reserved.items()},
    }
