"""Frames a second through ``POST /v1/frames``: a project with many labelled images, and a new one.

What a frame costs must not grow with what the project holds. Both projects have one class list of
the same length; the frames are small, so that decoding them hides nothing. Several clients send at
once, and the API is a process of its own, as it is in use.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn

from benchmarks.common.databases import Postgres, postgres_binaries, run_postgres
from benchmarks.common.projects import make_context
from benchmarks.common.waiting import wait_until
from curation.kernel.images import encode_png
from services.api.app import create_app
from services.context import Context
from services.db import migrate, revisions
from services.db.tables import Annotation, Image, Role, TruthSource

LABELS = ("bicycle", "bus", "car", "person", "truck")
OBJECTS = 6
"""Of an image, as many as an image of COCO has on average."""
BATCH = 500
FRAME_HW = (48, 64)
TOKEN = "benchmark"
REPEATS = 4000


def measure(images: int, frames: int, rounds: int, clients: int) -> dict[str, Any]:
    """Frames a second of each database, empty and full, and the ratio of each round.

    Args:
        images: labelled ones in the full project; the empty one has one for each class.
        frames: a client sends in a round; the sides take turns.
        rounds: that are counted, after one that is not.
        clients: that send at once.

    Returns:
        The arguments, and ``databases``: for each the median rates and ratio, full over empty, with
        a 95 % interval of the rounds.
    """
    found = []
    for name, urls in _databases():
        print(f"  frames, {name}", file=sys.stderr, flush=True)
        taken = _rates(urls, images, frames, rounds, clients)
        ratios = [full / empty for empty, full in zip(*taken.values(), strict=True)]
        value, low, high = interval(ratios)
        rates = {f"a_second_{side}": round(interval(one)[0], 1) for side, one in taken.items()}
        found.append({"database": name, **rates, "ratio": value, "low": low, "high": high})
    sizes = {"labelled_images": images, "clients": clients, "frames": frames, "rounds": rounds}
    return {**sizes, "databases": found}


def interval(values: Sequence[float], repeats: int = REPEATS) -> tuple[float, float, float]:
    """The median and its 95 % bootstrap interval."""
    rows = np.asarray(values, np.float64)
    draws = np.random.default_rng(0).integers(0, len(rows), (repeats, len(rows)))
    low, high = np.quantile(np.median(rows[draws], axis=1), [0.025, 0.975])
    return float(np.median(rows)), float(low), float(high)


def _databases() -> Iterator[tuple[str, Mapping[str, str]]]:
    """A database for the empty and one for the full project, of each kind that is here."""
    with tempfile.TemporaryDirectory() as folder:
        yield "sqlite", {side: f"sqlite:///{folder}/{side}.db" for side in ("empty", "full")}
    if postgres_binaries() is None:
        print("PostgreSQL is not installed and not measured: apt-get install postgresql")
        return
    for server in run_postgres():
        yield "postgresql", {side: _created(server, side) for side in ("empty", "full")}


def _created(server: Postgres, name: str) -> str:
    return server.create_database(f"speed_{name}")


def _rates(
    urls: Mapping[str, str], images: int, frames: int, rounds: int, clients: int
) -> dict[str, list[float]]:
    """Frames a second of each round, by side."""
    rng = np.random.default_rng(0)
    rates: dict[str, list[float]] = {side: [] for side in urls}
    with ExitStack() as opened:
        doors = {}
        for side, url in urls.items():
            context = opened.enter_context(_project(url))
            _fill(context, images if side == "full" else len(LABELS))
            doors[side] = opened.enter_context(_door(context.project.root, url))
        for number in range(rounds + 1):
            pictures = [_picture(rng) for _ in range(frames * clients)]
            turns = list(doors) if number % 2 else list(reversed(doors))
            for side in turns:
                rate = _send(doors[side], pictures, clients)
                if number:
                    rates[side].append(rate)
    return rates


def _picture(rng: np.random.Generator) -> bytes:
    return encode_png(rng.integers(0, 256, (*FRAME_HW, 3), dtype=np.uint8))


def _send(door: httpx.Client, pictures: list[bytes], clients: int) -> float:
    """Frames a second that are accepted, each with its truth; every client sends its share."""
    truth = json.dumps([{"box": [4, 4, 40, 30], "label": label} for label in LABELS])

    def of_client(own: Sequence[bytes]) -> None:
        for data in own:
            answer = door.post(
                "/frames", files={"file": ("frame.png", data)}, data={"objects": truth}
            )
            answer.raise_for_status()

    with ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        list(pool.map(of_client, [pictures[number::clients] for number in range(clients)]))
        return len(pictures) / (time.perf_counter() - started)


@contextmanager
def _project(url: str) -> Iterator[Context]:
    with tempfile.TemporaryDirectory() as folder:
        context = make_context(Path(folder) / "project", url, api={"token": TOKEN})
        migrate.upgrade(context.engine)
        try:
            yield context
        finally:
            context.engine.dispose()


def _fill(context: Context, images: int) -> None:
    """Labelled seed images; nothing lies in their files."""
    for first in range(0, images, BATCH):
        numbers = range(first, min(first + BATCH, images))
        with context.sessions.begin() as session:
            session.add_all(_image(number) for number in numbers)
            session.flush()
            revisions.add(session, [_truth(number) for number in numbers])


def _image(number: int) -> Image:
    identity = f"{number:064x}"
    return Image(
        id=identity,
        role=Role.SEED,
        file=f"{identity[:2]}/{identity}.png",
        name=f"{number}.png",
        width_px=640,
        height_px=480,
        perceptual_hash=f"{number:016x}",
    )


def _truth(number: int) -> Annotation:
    objects = [
        {
            "box": [10.0 * n, 20.0, 10.0 * n + 60.0, 90.0],
            "label": LABELS[(number + n) % len(LABELS)],
            "ignore": False,
        }
        for n in range(OBJECTS)
    ]
    return Annotation(image_id=f"{number:064x}", objects=objects, source=TruthSource.IMPORT)


@contextmanager
def _door(root: Path, url: str) -> Iterator[httpx.Client]:
    """A client of the project's API, which is another process."""
    own, its = multiprocessing.Pipe()
    api = multiprocessing.get_context("spawn").Process(target=_serve, args=(root, url, its))
    api.start()
    try:
        if not own.poll(120):
            raise RuntimeError("the API of the benchmark does not start within two minutes")
        base = f"http://127.0.0.1:{own.recv()}/v1"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=base, headers=headers, timeout=120) as client:
            wait_until(lambda: client.get("/failures").is_success, 60, "the API answers")
            yield client
    finally:
        api.terminate()
        api.join(30)


def _serve(root: Path, url: str, told: Connection) -> None:
    """Serve a project that exists; the port is told once it can be connected to."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = make_context(root, url, api={"token": TOKEN})
    config = uvicorn.Config(create_app(context), log_config=None, access_log=False, lifespan="off")
    told.send(listener.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listener])
