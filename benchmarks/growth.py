"""Bounded growth: field frames through one set of processes, and what those hold after each part.

    python -m benchmarks.growth --frames 10000

``e2x up`` with all its processes. Real frames through the real doors: each is sent to the API, the
champion (a small detector) looks at it, and every so many have an object that it misses, which is
explained; each part also imports pool pictures, which are embedded and indexed, and somebody reads
what there is to read. After each part the memory that belongs to each process alone, its open
descriptors and its threads are read, and the files in the project that are neither frames and
pictures nor found in them. Writes ``benchmarks/results/growth.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from sqlalchemy import func, select

from benchmarks.common import bars, field_project
from benchmarks.common.machine import machine, versions
from benchmarks.common.waiting import wait_until
from benchmarks.scale.pictures import write_pictures
from curation.kernel import files
from services import context as wiring
from services.api.auth import project_token
from services.config.settings import PROJECT_FILE, Settings
from services.context import Context
from services.db.engine import reading
from services.db.tables import TERMINAL, Role, Unit, UnitState
from services.intake.imports import import_dataset
from services.worker.tasks import HOUSEKEEPING_S
from services.worker.up_file import running

OUT = Path(__file__).parent / "results" / "growth.json"
ROOT = Path(__file__).parents[1]
MISSED_EVERY, POOL_EVERY = 20, 10
"""Every so many frames one has a failure, and one picture comes into the pool."""
READ_EVERY = 50
READ = (
    "/v1/failures?limit=20",  # so many there are before the warm-up ends
    "/v1/units?limit=20",
    "/v1/modes",
    "/v1/tasks",
    "/readyz",
    "/metrics",
    "/",
)
PARTS = 10
WARM_PARTS = 2
"""Parts that warm up at least: caches fill, memory pools find their size. What the scheduler has
done seldomest must have been done once, too: its first run loads what it needs."""
GROWTH, DESCRIPTORS = 0.05, 4
START_S, STOP_S = 180.0, 60.0
POOL_WH = (160, 120)
SETTINGS = field_project.SETTINGS + "[api]\nport = 0\n"
OF_FRAMES = ("images", "explanations", "segments", "embeddings", "index", "runs")
"""Folders that hold what frames and pictures are and what is found in them."""
Figures = dict[str, Any]


def main() -> None:
    """Measure, print and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=600.0, help="no part begins after so long")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    parts = measure(given.frames, 60.0 * given.minutes)
    frames = parts[-1]["frames"]
    document = {
        "command": " ".join(["python -m benchmarks.growth", *sys.argv[1:]]),
        "load_before": load,
        "frames": frames,
        "parts": parts,
        "bars": judged(frames, parts),
        "machine": machine(),
        "versions": versions(),
    }
    files.write_json(given.out, document)
    print(json.dumps(document["bars"], indent=1))


def measure(frames: int, longest_s: float) -> list[Figures]:
    """Send the frames, for so long at most; what the processes hold after each part."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = folder / "project"
        root.mkdir()
        (root / PROJECT_FILE).write_text(SETTINGS)
        context = field_project.fill(wiring.build(Settings(project=root)))
        parts: list[Figures] = []
        with e2x_up(context) as url:
            each = max(1, frames // PARTS)
            for start in range(0, frames, each):
                began = time.monotonic()
                if began - started > longest_s:
                    break
                numbers = range(start, min(frames, start + each))
                pool(context, folder / f"pool-{start}", len(numbers) // POOL_EVERY, start)
                send(context, url, numbers)
                wait(context)
                found = held(context) | {"frames": numbers.stop}
                found["seconds"] = round(time.monotonic() - began, 1)
                found["other_files"] = other_files(context.project.root)
                parts.append(found)
                print(json.dumps(found), flush=True)
        context.engine.dispose()
    return parts


@contextmanager
def e2x_up(context: Context) -> Iterator[str]:
    """The services of a project within a block; the API's address."""
    command = [sys.executable, "-m", "services.cli", "--project", str(context.project.root), "up"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: bool(address(context)) and ready(address(context)), START_S, "it is up")
        yield address(context)
    finally:
        process.terminate()
        process.wait(STOP_S)


def address(context: Context) -> str:
    """Of the API, empty while nothing runs."""
    return str((running(context.project) or {}).get("api_url") or "")


def ready(url: str) -> bool:
    """Whether database, broker, relay and workers do their work."""
    try:
        return httpx.get(f"{url}/readyz", timeout=10).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def pool(context: Context, folder: Path, count: int, seed: int) -> None:
    """Pictures into the pool, as ``e2x import`` does."""
    if count:
        write_pictures(folder, count, np.random.default_rng((5, seed)), POOL_WH)
        import_dataset(context, folder, Role.POOL)


def send(context: Context, url: str, numbers: range) -> None:
    """Frames, one after the other, as a field connector sends them; now and then one reads."""
    headers = {"Authorization": f"Bearer {project_token(context)}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        for number in numbers:
            missed = number % MISSED_EVERY == 0
            truth = field_project.objects(number) if missed else []
            answer = client.post(
                "/v1/frames",
                files={"file": (f"{number}.png", field_project.frame(number), "image/png")},
                data={"objects": json.dumps(truth)},
            )
            answer.raise_for_status()
            for path in READ if number % READ_EVERY == 0 else ():
                client.get(path, follow_redirects=True).raise_for_status()


def wait(context: Context) -> None:
    """Until every unit has ended.

    Raises:
        RuntimeError: one was given up.
    """
    while True:
        with reading(context.sessions) as session:
            left = session.scalar(select(func.count()).where(Unit.state.not_in(TERMINAL)))
            dead = session.scalar(select(Unit.error).where(Unit.state == UnitState.DEAD).limit(1))
        if dead:
            raise RuntimeError(dead)
        if not left:
            return
        time.sleep(0.5)


def held(context: Context) -> Figures:
    """Memory of their own in MiB, descriptors and threads of the processes, by name."""
    said = running(context.project) or {}
    memory: dict[str, float] = {}
    descriptors: dict[str, int] = {}
    threads: dict[str, int] = {}
    pids: dict[str, int] = {}
    firsts = {"up": psutil.Process(said["pid"])}
    firsts |= {name: psutil.Process(pid) for name, pid in said["processes"].items()}
    for name, first in firsts.items():
        family = [first] if name == "up" else [first, *first.children(recursive=True)]
        for number, process in enumerate(family):
            own = name if number == 0 else f"{name}-{number}"
            memory[own] = round(process.memory_full_info().uss / 2**20, 2)
            descriptors[own] = process.num_fds()
            threads[own] = process.num_threads()
            pids[own] = process.pid
    return {"mib": memory, "descriptors": descriptors, "threads": threads, "pids": pids}


def other_files(root: Path) -> int:
    """Files of a project that no frame and no result of one is: logs, locks, what is half done."""
    count = 0
    for path in root.rglob("*"):
        if path.is_file() and not set(path.relative_to(root).parts[:-1]) & set(OF_FRAMES):
            count += 1
    return count


def warm_parts(parts: Sequence[Figures]) -> int:
    """So many of the first parts are warm-up."""
    ended = accumulate(part["seconds"] for part in parts)
    early = sum(1 for seconds in ended if seconds < HOUSEKEEPING_S)
    return max(WARM_PARTS, early + 1)


def judged(frames: int, parts: list[Figures]) -> Figures:
    """The bars: the end against the end of the warm-up, for the process that grew most.

    One that was replaced meanwhile has hidden its growth: there may be none.
    """
    warmed = warm_parts(parts)
    if len(parts) <= warmed:
        return {}
    warm, last = parts[warmed - 1], parts[-1]
    same = [name for name, pid in last["pids"].items() if warm["pids"].get(name) == pid]
    growth = {name: last["mib"][name] / warm["mib"][name] - 1 for name in same}
    more = {name: last["descriptors"][name] - warm["descriptors"][name] for name in same}
    return {
        "frames": bars.entry(frames, bound=10_000),
        "memory": bars.entry(max(growth.values()), bound=GROWTH, sense="<="),
        "replaced": bars.entry(len(last["pids"]) - len(same), bound=0, sense="<="),
        "descriptors": bars.entry(max(more.values()), bound=DESCRIPTORS, sense="<="),
        "files": bars.entry(
            last["other_files"] - warm["other_files"], bound=DESCRIPTORS, sense="<="
        ),
    }


if __name__ == "__main__":
    main()
