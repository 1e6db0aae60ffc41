"""Measures and writes; see the package."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from benchmarks.common.bars import entry
from benchmarks.common.collector import Collector, Seen, collecting
from benchmarks.common.machine import machine, versions
from benchmarks.common.waiting import wait_until
from benchmarks.latency import project
from benchmarks.latency.parts import COMPUTING, OWN, PARTS, parts_of
from services.api.auth import project_token
from services.context import Context
from services.db.engine import reading
from services.db.tables import FailureRow, Observation
from services.demo.street import CLASS_NAMES, Scene
from services.selection.traced import NAME

RESULT = Path(__file__).parents[1] / "results" / "latency.json"
GOAL_S = 1.0
FRAME_S = 600.0
REPORT = "POST /v1/frames"
Frame = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20, help="frames that are reported")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, collecting() as collector:
        context = project.make(Path(folder))
        with project.running(context, collector.url) as up:
            client = httpx.Client(
                base_url=f"{up.api_url}/v1",
                headers={"Authorization": f"Bearer {project_token(context)}"},
                timeout=FRAME_S,
            )
            beside = os.getloadavg()[0]  # of the minutes in which this program trained, too
            measured = measure(context, client, collector, given.frames)
        context.engine.dispose()
    document = told(measured, given.frames, beside)
    RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    show(document)


def measure(
    context: Context, client: httpx.Client, collector: Collector, count: int
) -> list[Frame]:
    """Report frames until so many have come to label tasks; the first is not counted.

    With the first, workers load the networks. A frame in which the detector fails at nothing asks
    for no task, and is passed over.
    """
    found: list[Frame] = []
    for scene, picture in project.frames(8 * count + 20):
        frame = _one(context, client, collector, scene, picture)
        if frame is not None:
            found.append(frame)
        if len(found) > count:
            break
    return found[1:]


def _one(
    context: Context, client: httpx.Client, collector: Collector, scene: Scene, picture: bytes
) -> Frame | None:
    wait_until(lambda: project.is_idle(context), FRAME_S, "nothing is left to do")
    collector.seen.clear()
    truth = [
        {"box": [float(value) for value in box], "label": CLASS_NAMES[int(label)]}
        for box, label in zip(scene.truth.boxes_xyxy, scene.truth.labels, strict=True)
    ]
    answer = client.post(
        "/frames",
        files={"file": (f"{scene.name}.png", picture, "image/png")},
        data={"objects": json.dumps(truth)},
    )
    answer.raise_for_status()
    # Begun while the frame is looked at, so that no trigger's interval is in what is measured.
    cycle = client.post("/cycles", json={})
    cycle.raise_for_status()
    number, state = cycle.json()["id"], "explaining"
    deadline = time.monotonic() + FRAME_S
    while state in ("explaining", "selecting") and time.monotonic() < deadline:
        time.sleep(0.2)
        state = client.get(f"/cycles/{number}").json()["state"]
    if state == "labelling":
        client.post(f"/cycles/{number}/cancel").raise_for_status()
    if state != "labelling" or not _failures(context, answer.json()["id"]):
        return None
    wait_until(lambda: _tasks(collector) != [], 60, "the spans have come")
    time.sleep(1.5)  # all processes send theirs once a second
    return _frame(collector.seen, _failures(context, answer.json()["id"]))


def _failures(context: Context, observation: int) -> int:
    with reading(context.sessions) as session:
        return (
            session.scalar(
                select(func.count(FailureRow.id))
                .join(Observation, Observation.image_id == FailureRow.image_id)
                .where(Observation.id == observation)
            )
            or 0
        )


def _tasks(collector: Collector) -> list[Seen]:
    """Label tasks that are in the trace of the frame that was reported last."""
    trace = next((one.trace for one in collector.named(REPORT)), None)
    return [one for one in collector.named(NAME) if one.trace == trace]


def _frame(seen: list[Seen], failures: int) -> Frame:
    """The time of one frame, by part, and what its stages computed."""
    request = next(one for one in seen if one.name == REPORT)
    task = min(one.end for one in seen if one.name == NAME and one.trace == request.trace)
    spans = [one for one in seen if not _is_a_look(one) and one.start < task]
    parts = parts_of(spans, request.start, task)
    stages: dict[str, float] = {}
    for one in spans:
        if one.name.endswith(": compute"):
            kind = one.name.partition(":")[0]
            stages[kind] = stages.get(kind, 0.0) + (one.end - one.start) / 1e9
    total = (task - request.start) / 1e9
    return {
        "total_s": total,
        "own_s": total - parts[COMPUTING],
        "failures": failures,
        "parts_s": parts,
        "stages_s": stages,
    }


def _is_a_look(span: Seen) -> bool:
    """Whether this program asked how far the cycle is, which is no part of what is measured."""
    return span.name.startswith("GET ")


def told(frames: list[Frame], asked: int, load: float) -> dict[str, Any]:
    """The result file; ``load`` is the load average of the machine as it began."""
    own = sorted(frame["own_s"] for frame in frames)
    low, high = _interval(own)
    kinds = sorted({kind for frame in frames for kind in frame["stages_s"]})
    return {
        "command": f"python -m benchmarks.latency --frames {asked}",
        "machine": machine(load_average=round(load, 1)),
        "versions": versions(),
        "frames": len(frames),
        "bars": {"own_share_s": entry(median(own), low, high, bound=GOAL_S, sense="<=")},
        "total_s": _spread([frame["total_s"] for frame in frames]),
        "own_s": _spread(own),
        "parts_s": {name: _spread([f["parts_s"][name] for f in frames]) for name in PARTS},
        "stages_s": {
            kind: _spread([f["stages_s"].get(kind, 0.0) for f in frames]) for kind in kinds
        },
        "each": frames,
    }


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(median(ordered), 4),
        "p90": round(ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))], 4),
        "most": round(ordered[-1], 4),
    }


def _interval(ordered: list[float]) -> tuple[float, float]:
    """95 % interval of the median by ranks, whatever the distribution (normal approximation)."""
    count = len(ordered)
    reach = 0.98 * count**0.5  # 1.96 standard deviations of a binomial with p = 1/2
    low, high = round(count / 2 - reach), round(1 + count / 2 + reach)
    return ordered[max(0, low - 1)], ordered[min(count - 1, high - 1)]


def show(document: dict[str, Any]) -> None:
    table = Table("part", "median s", "p90 s", "most s")
    rows = {"all": document["total_s"], "the service's own": document["own_s"]}
    rows |= {f"  {name}": document["parts_s"][name] for name in OWN}
    rows |= {f"computing: {kind}": spread for kind, spread in document["stages_s"].items()}
    for name, spread in rows.items():
        table.add_row(name, *(f"{spread[key]:.3f}" for key in ("median", "p90", "most")))
    Console().print(table)


if __name__ == "__main__":
    main()
