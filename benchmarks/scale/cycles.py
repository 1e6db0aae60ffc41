"""One project at each size: a cycle, the plan, the API's lists, the database and all memory."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.common.waiting import wait_until
from benchmarks.scale import growth, world
from benchmarks.scale.resident import peak_mib
from services.api.auth import project_token
from services.context import Context

LISTS = ("failures", "modes", "tasks")
REQUESTS = 100
ROOT = Path(__file__).parents[2]
BUDGET = 20


def measure(
    sizes: list[int],
    policies: dict[str, int],
    *,
    pictures: int,
    regions: int,
    epochs: int,
    champion: Path | None = None,
    keep: Path | None = None,
    tell: Callable[[dict[str, Any]], None] = lambda _result: None,
) -> dict[str, Any]:
    """Grow one project, and measure it at each size.

    Args:
        sizes: rising numbers of pool images.
        policies: that compare the whole pool, each with the size at which it is measured.
        pictures: real ones, which the pool's rows share.
        regions: an image.
        epochs: of the champion's training.
        champion: folder of a trained detector instead.
        keep: folder in which the project stays; a pool that is there already grows on. None: it is
            thrown away.
        tell: told all that is known so far, after each size.
    """
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        place = keep or Path(folder)
        context, real = world.opened(place, pictures, regions, epochs, BUDGET, champion)
        result: dict[str, Any] = {
            "failures": world.explained(context),
            "real_pictures": pictures,
            "regions_an_image": regions,
            "budget_boxes": BUDGET,
            "sizes": [],
            "policies": [],
        }
        for size in sizes:
            grown = growth.grow(context, real, size)
            row = {"images": size, "processor_s_to_grow": grown, **_at_size(context)}
            result["sizes"].append(row)
            print(json.dumps(row), flush=True)
            for policy in [name for name, wanted in policies.items() if wanted == size]:
                result["policies"].append(_choice(context, real, policy, size))
                print(json.dumps(result["policies"][-1]), flush=True)
            tell(result)
        context.engine.dispose()
    return result


def _at_size(context: Context) -> dict[str, Any]:
    with _as_before(context):
        planned = _child("plan", context)
        chosen = _child("cycle", context)
        with _api(context) as (client, pid):
            answers = {name: _latencies(client, name) for name in LISTS}
            api_mib = peak_mib(pid)
    return {
        "plan": planned,
        "cycle": chosen,
        "api_ms": answers,
        "peak_mib": {"selecting": chosen["peak_mib"], "plan": planned["peak_mib"], "api": api_mib},
        "bytes": {
            "database": _bytes(context.project.state, "*.db*"),
            "index": _bytes(context.project.index),
            "embeddings": _bytes(context.project.embeddings),
        },
    }


def _choice(context: Context, real: world.Real, policy: str, size: int) -> dict[str, Any]:
    """A policy's choice from a pool that the champion has seen whole."""
    with _as_before(context):
        growth.look_at_all(context, real)
        return {"images": size, **_child("choose", context, policy, str(BUDGET))}


@contextmanager
def _as_before(context: Context) -> Iterator[None]:
    """Put database and files back afterwards: each size is asked in the same state."""
    context.engine.dispose()
    database = Path(str(context.engine.url.database))
    copy = database.with_name("before.copy")
    folders = [context.project.runs, context.project.modes]
    kept = {path for folder in folders for path in folder.iterdir()}
    shutil.copyfile(database, copy)
    try:
        yield
    finally:
        context.engine.dispose()
        for name in (f"{database.name}-wal", f"{database.name}-shm"):
            database.with_name(name).unlink(missing_ok=True)
        copy.replace(database)
        for folder in folders:
            for path in set(folder.iterdir()) - kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _child(what: str, context: Context, *rest: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scale.child", what, str(context.project.root)]
    told = subprocess.run(
        [*command, *rest], stdout=subprocess.PIPE, check=True, text=True, cwd=ROOT
    )
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return found


@contextmanager
def _api(context: Context) -> Iterator[tuple[httpx.Client, int]]:
    """The API of the project in a process of its own, and a client."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "E2X_PROJECT": str(context.project.root),
        "E2X_API__PORT": str(port),
    }
    headers = {"Authorization": f"Bearer {project_token(context)}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "services.api"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    base = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"the API ended with {process.returncode}")
        try:
            return httpx.get(f"{base}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, 120, "the API is ready")
        with httpx.Client(base_url=f"{base}/v1", headers=headers, timeout=120) as client:
            yield client, process.pid
    finally:
        process.terminate()
        process.wait(30)


def _latencies(client: httpx.Client, name: str) -> dict[str, float]:
    taken, items = [], 0
    for _ in range(REQUESTS):
        began = time.perf_counter()
        answer = client.get(f"/{name}").raise_for_status()
        taken.append(1e3 * (time.perf_counter() - began))
        items = len(answer.json()["items"])
    p50, p95 = np.percentile(taken, [50, 95])
    return {"items": items, "p50": float(p50), "p95": float(p95)}


def _bytes(folder: Path, pattern: str = "**/*") -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())
