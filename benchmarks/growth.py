"""Bounded growth: field frames through one set of processes, and what those hold after each part.

    python -m benchmarks.growth --frames 10000

Real frames through the real doors: each is sent to the API, the champion (a small detector) looks
at it, and every so many have an object that it misses, which is explained. After each part the
memory that belongs to each process alone, its open descriptors and its threads are read, and the
files in the project that are neither frames nor results of frames. Writes
``benchmarks/results/growth.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy import func, select

from benchmarks.common import bars, field_project
from benchmarks.common.machine import machine, versions
from curation.kernel import files
from services.api.auth import project_token
from services.context import Context
from services.db.engine import reading
from services.db.tables import TERMINAL, Unit, UnitState
from services.worker.supervisor import Supervisor

OUT = Path(__file__).parent / "results" / "growth.json"
WORKERS = {"explain": ("explain",), "embed": ("embed", "index"), "default": ("default",)}
MISSED_EVERY = 20
PARTS = 10
WARM_PARTS = 2
"""Parts that warm up: caches fill, memory pools find their size."""
GROWTH, DESCRIPTORS = 0.05, 4
SETTINGS: dict[str, Any] = {
    "seed": 0,
    "detector": {"input_height_px": 96, "input_width_px": 128, "min_scale": 0.15},
    "explanation": {"num_samples": 8, "num_segments": 30},
    "selection": {"encoder_height_px": 96, "encoder_width_px": 128},
    "workers": {"threads": 1},
    "api": {"port": 0},
}
OF_FRAMES = ("images", "explanations", "superpixels", "embeddings", "runs")
"""Folders that hold what frames are and what is found in them."""
Figures = dict[str, Any]


def main() -> None:
    """Measure, print and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    parts = measure(given.frames)
    document = {
        "command": " ".join(["python -m benchmarks.growth", *sys.argv[1:]]),
        "frames": given.frames,
        "parts": parts,
        "bars": judged(given.frames, parts),
        "machine": machine(),
        "versions": versions(),
    }
    files.write_json(given.out, document)
    print(json.dumps(document["bars"], indent=1))


def measure(frames: int) -> list[Figures]:
    """Send the frames; what the processes hold after each part."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder}/e2x.db"
        context = field_project.make(folder / "project", url, **SETTINGS)
        parts: list[Figures] = []
        with Supervisor(context, WORKERS, True) as up:
            up.wait_ready()
            each = max(1, frames // PARTS)
            for start in range(0, frames, each):
                began = time.monotonic()
                send(context, str(up.api_url), range(start, min(frames, start + each)))
                wait(context)
                found = held(up) | {"frames": min(frames, start + each)}
                found["seconds"] = round(time.monotonic() - began, 1)
                found["other_files"] = other_files(context.project.root)
                found["restarts"] = sum(up.restarts.values())
                parts.append(found)
                print(json.dumps(found), flush=True)
        context.engine.dispose()
    return parts


def send(context: Context, url: str, numbers: range) -> None:
    """Frames, one after the other, as a field connector sends them."""
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


def held(up: Supervisor) -> Figures:
    """Memory of their own in MiB, descriptors and threads of the processes, by name."""
    memory: dict[str, float] = {}
    descriptors: dict[str, int] = {}
    threads: dict[str, int] = {}
    for name, pid in up.pids.items():
        first = psutil.Process(pid)
        family = [first, *first.children(recursive=True)]
        for number, process in enumerate(family):
            own = name if number == 0 else f"{name}-{number}"
            memory[own] = round(process.memory_full_info().uss / 2**20, 2)
            descriptors[own] = process.num_fds()
            threads[own] = process.num_threads()
    return {"mib": memory, "descriptors": descriptors, "threads": threads}


def other_files(root: Path) -> int:
    """Files of a project that no frame and no result of one is: logs, locks, what is half done."""
    count = 0
    for path in root.rglob("*"):
        if path.is_file() and not set(path.relative_to(root).parts[:-1]) & set(OF_FRAMES):
            count += 1
    return count


def judged(frames: int, parts: list[Figures]) -> Figures:
    """The bars: the end against the end of the warm-up, for the process that grew most."""
    if len(parts) <= WARM_PARTS:
        return {}
    warm, last = parts[WARM_PARTS - 1], parts[-1]
    same = warm["mib"].keys() & last["mib"].keys()
    growth = {name: last["mib"][name] / warm["mib"][name] - 1 for name in same}
    more = {name: last["descriptors"][name] - warm["descriptors"][name] for name in same}
    return {
        "frames": bars.entry(frames, bound=10_000),
        "memory": bars.entry(max(growth.values()), bound=GROWTH, sense="<="),
        "descriptors": bars.entry(max(more.values()), bound=DESCRIPTORS, sense="<="),
        "files": bars.entry(
            last["other_files"] - warm["other_files"], bound=DESCRIPTORS, sense="<="
        ),
    }


if __name__ == "__main__":
    main()
