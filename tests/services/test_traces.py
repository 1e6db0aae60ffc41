"""Traces: from a frame's report over stages, tries and processes to its label task."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import skimage.data
from sqlalchemy import select, update

from benchmarks.common.collector import Collector, Seen, collecting
from benchmarks.common.processes import supervisor_of
from benchmarks.common.projects import make_context, make_model
from benchmarks.common.waiting import PATIENCE, wait_until
from curation.kernel.images import encode_png
from services import logs, tracing, units
from services.api.app import create_app
from services.api.auth import project_token
from services.context import Context
from services.db.tables import (
    CandidateRow,
    Cycle,
    LabelTask,
    Observation,
    Role,
    Unit,
    UnitState,
)
from services.selection import traced
from services.units import Claim
from services.units.pipeline import StageContext, Store
from services.units.resident import Resident
from services.worker import shell
from services.worker.app import make_app
from services.worker.relay import Relay
from tests.services.api_server import serving
from tests.services.builders import make_failure, make_image
from tests.services.field_frames import PHANTOM, Field
from tests.services.test_units_shell import SetWork, set_work, store_row
from tests.tiny_ssd import tiny_ssd

__all__ = ["set_work"]
SENDER = "00-" + "a1" * 16 + "-" + "b2" * 8 + "-01"
REPORT = "POST /v1/frames"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector of traces."""
    with collecting() as server:
        yield server


@contextmanager
def traced_by(context: Context, collector: Collector | None, url: str = "") -> Iterator[None]:
    """Spans of this process go to a collector until the block ends; then all have left."""
    where = url if collector is None else collector.url
    telemetry = context.settings.telemetry.model_copy(update={"traces_endpoint": where})
    assert tracing.configure("test", context.settings.model_copy(update={"telemetry": telemetry}))
    try:
        yield
    finally:
        tracing.end()


def png() -> bytes:
    return encode_png(np.ascontiguousarray(skimage.data.astronaut()))


def report(url: str, context: Context, **headers: str) -> httpx.Response:
    """Send a frame as a car does."""
    answer = httpx.post(
        f"{url}/v1/frames",
        files={"file": ("frame.png", png(), "image/png")},
        data={"objects": json.dumps([PHANTOM])},
        headers={"Authorization": f"Bearer {project_token(context)}", **headers},
        timeout=120 * PATIENCE,
    )
    assert answer.status_code == 201, answer.text
    return answer


def one(found: list[Seen]) -> Seen:
    assert len(found) == 1, found
    return found[0]


def test_a_frame_its_outbox_and_its_stages_are_one_trace(
    lite: Field, collector: Collector, memory_broker: str
) -> None:
    context = lite.context
    with traced_by(context, collector):
        with serving(create_app(context)) as (url, _):
            report(url, context, traceparent=SENDER)
        settings = context.settings.model_copy(update={"broker_url": memory_broker})
        wired = Context(settings, context.project, context.engine, context.sessions)
        Relay(wired, make_app(settings, context.project)).publish()
        lite.scan()
    request, scan = one(collector.named(REPORT)), one(collector.named("scan"))
    assert {span.trace for span in collector.seen if span.name != "GET"} == {"a1" * 16}
    assert request.parent == "b2" * 8
    assert request.values["http.response.status_code"] == 201
    assert scan.parent == request.span
    assert one(collector.named("outbox")).parent == request.span
    assert one(collector.named("scan: compute")).parent == scan.span
    assert one(collector.named("scan: store")).parent == scan.span
    assert scan.values["e2x.attempt"] == 1
    assert not scan.failed
    with context.sessions() as session:  # the next stage goes on from where it was asked for
        explain = session.scalars(select(Unit).where(Unit.kind == "explain")).one()
        assert explain.traceparent is not None
        assert explain.traceparent[:35] == f"00-{'a1' * 16}"
        assert explain.traceparent[36:52] == one(collector.named("scan: store")).span


def test_what_a_stranger_calls_a_trace_is_none(lite: Field, collector: Collector) -> None:
    with traced_by(lite.context, collector), serving(create_app(lite.context)) as (url, _):
        for wrong in ("no", "00-" + "0" * 32 + "-" + "b2" * 8 + "-01", SENDER + "-more"):
            answer = httpx.get(f"{url}/v1/models/{'x' * 9}", headers={"traceparent": wrong})
            assert answer.status_code == 401
    spans = collector.named("GET") + collector.named("GET /v1/models/{name}")
    assert len(spans) == 3
    assert all(not span.parent for span in spans)
    assert len({span.trace for span in spans}) == 3
    assert not any("x" * 9 in str(span) for span in spans)  # paths may name anything


def fails_once(tries: list[int]) -> Callable[[StageContext, Claim], Store]:
    def run(stage: StageContext, claim: Claim) -> Store:
        tries.append(claim.attempt)
        if len(tries) < 3:
            raise ValueError("not yet")
        return store_row

    return run


@pytest.mark.parametrize("asked_by_a_span", [True, False])
def test_a_retry_and_a_redrive_stay_in_the_trace(
    sqlite_context: Context, collector: Collector, set_work: SetWork, asked_by_a_span: bool
) -> None:
    context, tries = sqlite_context, list[int]()
    set_work(fails_once(tries))
    with traced_by(context, collector):
        with context.sessions.begin() as session:
            if asked_by_a_span:
                with tracing.span("asks"):
                    number = units.enqueue(session, "shell_test", "set:1", {}).id
            else:
                number = units.enqueue(session, "shell_test", "set:1", {}).id
        for _ in range(3):
            with context.sessions.begin() as session:
                session.execute(update(Unit).values(not_before=Unit.created_at, max_attempts=2))
                if session.get_one(Unit, number).state == UnitState.DEAD:
                    units.redrive(session, number)
            shell.run(context, Resident(), number, "test")
    spans = collector.named("shell_test")
    assert [span.values["e2x.outcome"] for span in spans] == ["queued", "dead", "done"]
    assert [span.failed for span in spans] == [True, True, False]
    assert len({span.trace for span in spans}) == 1
    if asked_by_a_span:
        assert {span.parent for span in spans} == {one(collector.named("asks")).span}
    else:  # the first try began the trace
        assert [span.parent for span in spans] == ["", spans[0].span, spans[0].span]


def test_lines_of_the_log_say_which_trace(
    sqlite_context: Context, collector: Collector, set_work: SetWork, tmp_path: Path
) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []
    try:
        logs.configure("test", folder=tmp_path)
        set_work(lambda _stage, _claim: store_row)
        with traced_by(sqlite_context, collector):
            with sqlite_context.sessions.begin() as session:
                number = units.enqueue(session, "shell_test", "set:1", {}).id
            shell.run(sqlite_context, Resident(), number, "test")
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers = before
        root.setLevel(level)
    lines = [json.loads(line) for line in (tmp_path / "test.log").read_text().splitlines()]
    said = {line["message"]: line for line in lines}
    span = one(collector.named("shell_test"))
    assert said["unit started"]["trace_id"] == span.trace
    assert said["unit done"]["span_id"] == span.span


def test_without_a_collector_a_trace_that_began_elsewhere_is_passed_on(lite: Field) -> None:
    assert not tracing.is_on()
    with serving(create_app(lite.context)) as (url, _):
        report(url, lite.context, traceparent=SENDER)
    lite.scan()
    with lite.context.sessions() as session:
        assert set(session.scalars(select(Unit.traceparent).where(Unit.kind != "x"))) >= {SENDER}


def test_a_frame_without_a_trace_has_none(lite: Field) -> None:
    with serving(create_app(lite.context)) as (url, _):
        report(url, lite.context)
    with lite.context.sessions() as session:
        assert set(session.scalars(select(Unit.traceparent))) == {None}
        assert set(session.scalars(select(Observation.traceparent))) == {None}


def test_a_collector_that_is_away_holds_nothing_up_and_is_said_once(
    sqlite_context: Context,
    set_work: SetWork,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}/v1/traces"
    set_work(lambda _stage, _claim: store_row)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    said = "the collector of traces"
    with traced_by(sqlite_context, None, closed):
        for number in range(8):
            with sqlite_context.sessions.begin() as session:
                unit = units.enqueue(session, "shell_test", f"set:{number}", {}).id
            assert shell.run(sqlite_context, Resident(), unit, "test") == "done"
        wait_until(lambda: said in caplog.text, 30, "it is said")
    lines = [line for line in caplog.messages if said in line]
    assert len(lines) == 1, lines


def test_every_look_at_a_frame_after_a_promotion_is_in_the_trace_of_its_report(
    lite: Field, collector: Collector
) -> None:
    context = lite.context
    with traced_by(context, collector):
        with context.sessions.begin() as session:
            session.add_all([make_image(1, Role.FIELD), make_image(2, Role.FIELD)])
            session.flush()
            images = {number: make_image(number, Role.FIELD).id for number in (1, 2)}
            session.add(Observation(image_id=images[1], reports=[], traceparent=SENDER))
        lite.add_model(2, tiny_ssd())
        with tracing.span("promotes"):
            lite.promote(2)
        with context.sessions() as session:
            scans = session.scalars(select(Unit).where(Unit.kind == "scan")).all()
            asked = {unit.payload["image"]: unit.traceparent for unit in scans}
    assert asked == {images[1]: SENDER, images[2]: None}


def test_a_label_task_is_in_the_trace_of_the_frame_that_it_repairs(
    context: Context, collector: Collector
) -> None:
    with traced_by(context, collector), tracing.span("select"):
        selection = tracing.current()
        with context.sessions.begin() as session:
            model, frame, other = (
                make_model(1),
                make_image(1, Role.FIELD),
                make_image(3, Role.FIELD),
            )
            pool = [make_image(number) for number in (7, 8)]
            session.add_all([model, frame, other, *pool])
            session.flush()
            failures = [make_failure(1, frame, model), make_failure(2, other, model)]
            cycle = Cycle(policy="e2x", budget_boxes=4)
            session.add_all([*failures, cycle, Observation(image_id=frame.id, traceparent=SENDER)])
            session.flush()
            for rank, (image, failure) in enumerate(zip(pool, failures, strict=True)):
                session.add_all(
                    [
                        CandidateRow(
                            cycle_id=cycle.id,
                            image_id=image.id,
                            failure_id=failure.id,
                            rank=rank,
                            score=1.0,
                        ),
                        LabelTask(cycle_id=cycle.id, image_id=image.id),
                    ]
                )
            traced.tell(session, cycle.id)
            expected = failures[0].id
        try:
            with context.sessions.begin() as session:  # what is undone is told of nothing
                traced.tell(session, cycle.id)
                raise RuntimeError
        except RuntimeError:
            pass
    task = one(collector.named(traced.NAME))
    assert (task.trace, task.parent) == ("a1" * 16, "b2" * 8)
    assert selection is not None
    assert task.links == (selection[3:35],)
    assert task.values["e2x.failure"] == expected


@pytest.mark.whole
def test_real_processes_make_one_trace(
    tmp_path: Path, sqlite_url: str, collector: Collector
) -> None:
    context = make_context(
        tmp_path / "project", sqlite_url, telemetry={"traces_endpoint": collector.url}
    )
    field = Field(context)
    with supervisor_of(field.context, {"explain": ("explain",)}, "", api=True) as up:
        up.wait_ready()
        report(up.api_url or "", context, traceparent=SENDER)
        names = (REPORT, "outbox", "scan", "scan: compute", "scan: store", "explain")
        wait_until(lambda: collector.has(*names), 240, "the frame is explained")
    frame = [span for span in collector.seen if span.trace == "a1" * 16]
    by_name = {span.name: span for span in frame}
    assert {span.service for span in frame} == {"e2x-api", "e2x-relay", "e2x-worker-explain"}
    request, scan, explain = (by_name[name] for name in (REPORT, "scan", "explain"))
    assert scan.parent == request.span
    assert explain.parent == by_name["scan: store"].span
    assert request.end <= scan.end <= explain.end
    assert len([span for span in frame if span.name == "outbox"]) >= 2
    context.engine.dispose()
