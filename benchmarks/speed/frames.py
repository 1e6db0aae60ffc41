"""Frames a second through ``POST /v1/frames``: a project with many labelled images, and a new one.

What a frame costs must not grow with what the project holds. Both projects have one class list of
the same length; the frames are small, so that decoding them hides nothing.
"""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import uvicorn

from benchmarks.common.databases import Postgres, postgres_binaries, run_postgres
from benchmarks.common.projects import make_context
from benchmarks.common.waiting import wait_until
from benchmarks.speed.scene import Row, interval
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


def measure(images: int, frames: int, rounds: int) -> tuple[list[Row], dict[str, list[float]]]:
    """Frames a second of each database, empty and full, and the ratio of each round.

    Args:
        images: labelled ones in the full project; the empty one has one for each class.
        frames: a round; the sides take turns.
        rounds: that are counted, after one that is not.

    Returns:
        A row a database, and by database the ratios full to empty.
    """
    rows: list[Row] = []
    ratios: dict[str, list[float]] = {}
    for name, urls in _databases():
        taken = _rates(urls, images, frames, rounds)
        ratios[name] = [full / empty for empty, full in zip(*taken.values(), strict=True)]
        value, low, high = interval(ratios[name])
        rows.append(
            {
                "database": name,
                "labelled_images": images,
                **{f"frames_per_s_{side}": interval(rates)[0] for side, rates in taken.items()},
                "ratio": value,
                "low": low,
                "high": high,
            }
        )
    return rows, ratios


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
    urls: Mapping[str, str], images: int, frames: int, rounds: int
) -> dict[str, list[float]]:
    """Frames a second of each round, by side."""
    rng = np.random.default_rng(0)
    rates: dict[str, list[float]] = {side: [] for side in urls}
    with ExitStack() as opened:
        clients = {}
        for side, url in urls.items():
            context = opened.enter_context(_project(url))
            _fill(context, images if side == "full" else len(LABELS))
            clients[side] = opened.enter_context(_client(context))
        for number in range(rounds + 1):
            pictures = [_picture(rng) for _ in range(frames)]
            turns = list(clients) if number % 2 else list(reversed(clients))
            for side in turns:
                rate = _send(clients[side], pictures)
                if number:
                    rates[side].append(rate)
    return rates


def _picture(rng: np.random.Generator) -> bytes:
    return encode_png(rng.integers(0, 256, (*FRAME_HW, 3), dtype=np.uint8))


def _send(client: httpx.Client, pictures: list[bytes]) -> float:
    """Frames a second, one after the other, each with its truth."""
    truth = json.dumps([{"box": [4, 4, 40, 30], "label": label} for label in LABELS])
    started = time.perf_counter()
    for number, data in enumerate(pictures):
        answer = client.post(
            "/frames", files={"file": (f"{number}.png", data)}, data={"objects": truth}
        )
        answer.raise_for_status()
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
def _client(context: Context) -> Iterator[httpx.Client]:
    """A client of the project's API, which listens on a socket of this process."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(create_app(context), log_config=None, access_log=False, lifespan="off")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: server.started, 30, "the API listens")
        base = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=base, headers=headers, timeout=120) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
