"""The API as a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.common.projects import make_context
from benchmarks.common.waiting import PATIENCE, wait_until
from services.api.auth import project_token


@dataclass(frozen=True, slots=True)
class ApiProcess:
    """Where it listens, its token and its log."""

    url: str
    address: tuple[str, int]
    token: str
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def api_process(folder: Path, database_url: str, **variables: str) -> Iterator[ApiProcess]:
    """The API of a new project, ready; it has ended after the block."""
    context = make_context(folder / "project", database_url)
    token = project_token(context)
    context.engine.dispose()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "E2X_PROJECT": str(context.project.root),
        "E2X_DATABASE_URL": database_url,
        "E2X_API__PORT": str(port),
        **variables,
    }
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.api"], env=environment, stdout=out, stderr=out
        )
    api = ApiProcess(f"http://127.0.0.1:{port}", ("127.0.0.1", port), token, log)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(f"{api.url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, 60, "the API is ready")
        yield api
    finally:
        process.terminate()
        process.wait(30 * PATIENCE)
