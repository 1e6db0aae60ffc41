"""A real MLflow server, and what it says that it was told."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.common.waiting import PATIENCE, wait_until

START_S = 300.0
"""It makes its tables at the first start, and loads half a gigabyte of programs."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where it listens, and its process."""

    url: str
    process: subprocess.Popen[bytes]

    @contextmanager
    def hangs(self) -> Iterator[None]:
        """It takes connections and answers nothing, until the block ends."""
        group = os.getpgid(self.process.pid)
        os.killpg(group, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(group, signal.SIGCONT)

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """What it answers."""
        answer = httpx.get(f"{self.url}/api/2.0/mlflow/{path}", params=query, timeout=60 * PATIENCE)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """The same of a request with a body."""
        answer = httpx.post(f"{self.url}/api/2.0/mlflow/{path}", json=body, timeout=60 * PATIENCE)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """Runs of an experiment, by the number of their model."""
        found = self.get("experiments/get-by-name", experiment_name=experiment)["experiment"]
        runs = self.post("runs/search", experiment_ids=[found["experiment_id"]]).get("runs", [])
        return sorted(runs, key=lambda run: int(tags(run)["e2x.number"]))

    def champion(self, name: str) -> dict[str, Any]:
        """The version that the alias means."""
        query = {"name": name, "alias": "champion"}
        return dict(self.get("registered-models/alias", **query)["model_version"])

    def file(self, run: str, path: str) -> bytes:
        """A file of a run."""
        query = {"run_uuid": run, "path": path}
        answer = httpx.get(f"{self.url}/get-artifact", params=query, timeout=60 * PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.content


def tags(run: dict[str, Any]) -> dict[str, str]:
    """Tags of a run by name."""
    return {tag["key"]: tag["value"] for tag in run["data"]["tags"]}


def params(run: dict[str, Any]) -> dict[str, str]:
    """Parameters of a run by name."""
    return {one["key"]: one["value"] for one in run["data"]["params"]}


def metrics(run: dict[str, Any]) -> dict[str, float]:
    """The latest value of each metric of a run."""
    return {one["key"]: one["value"] for one in run["data"]["metrics"]}


def executable() -> str:
    """The program; the test is skipped where there is none."""
    found = os.environ.get("E2X_MLFLOW_SERVER") or shutil.which("mlflow")
    if not found:
        pytest.skip(
            "NO TEST WITH MLFLOW RUNS: set E2X_MLFLOW_SERVER to its program, from an environment "
            "of its own (pip install mlflow)"
        )
    return found


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a database and a folder of its own."""
    program, folder = executable(), tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = folder / "log"
    listen = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stored = [
        f"--backend-store-uri=sqlite:///{folder}/mlflow.db",
        f"--artifacts-destination={folder}/files",
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program, "server", *listen, *stored],
            env=_environment(Path(program)),
            stdout=out,
            stderr=out,
            cwd=folder,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            return httpx.get(f"{url}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, START_S, "MLflow is ready")
        yield Server(url, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(60 * PATIENCE)


def _environment(program: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {
        **own,
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes that nothing here needs
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
