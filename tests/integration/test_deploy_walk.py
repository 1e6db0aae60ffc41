"""`deploy/README.md` walked: each process of its table by its own command, in production, over TLS.

PostgreSQL, Redis and an S3 store are on this host, as they would be on others; all that the
processes have is settings. Then a person of the team goes through the loop by the documented
commands and over HTTP, from the first account to a decision on a new model.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.common.buckets import ACCESS_KEY, MISSING, SECRET_KEY, Seaweed, weed
from benchmarks.common.databases import Postgres
from benchmarks.common.processes import ROOT, stop
from benchmarks.common.waiting import PATIENCE, wait_until
from services.units.pipeline import QUEUES
from tests import bad_images
from tests.certificates import certificate, redis_over_tls
from tests.services.datasets_on_disk import pictures, write_coco

__all__ = ["certificate"]
PAGE = (ROOT / "deploy/README.md").read_text()
LONG_S = 900
SMALL = {
    "E2X_SEED": "3",
    "E2X_DETECTOR__WEIGHTS": "random",
    "E2X_DETECTOR__INPUT_HEIGHT_PX": "64",
    "E2X_DETECTOR__INPUT_WIDTH_PX": "64",
    "E2X_TRAINING__EPOCHS": "2",
    "E2X_TRAINING__FINETUNE_EPOCHS": "1",
    "E2X_TRAINING__BATCH_SIZE": "4",
    "E2X_EXPLANATION__NUM_SAMPLES": "16",
    "E2X_EXPLANATION__MIN_RECALL": "0",
    "E2X_SELECTION__ENCODER_HEIGHT_PX": "64",
    "E2X_SELECTION__ENCODER_WIDTH_PX": "96",
    "E2X_SELECTION__BUDGET_BOXES": "4",
    "E2X_WORKERS__THREADS": "1",
}
"""A loop that small pictures go through in seconds."""


def commands() -> list[str]:
    """What the table of processes says to start, but for a folder that is watched."""
    table = PAGE.partition("## Processes")[2].partition("All of them read")[0]
    said = re.findall(r"^\| [^|]+ \| `([^`]+)` \|", table, re.M)
    return [command for command in said if "intake.watch" not in command]


@dataclass
class Team:
    """A person at the host, who types what the documentation says."""

    folder: Path
    variables: dict[str, str]
    stack: ExitStack
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def words(self, command: str) -> list[str]:
        """A documented command as the programs of this checkout."""
        program, *rest = command.split()
        if program == "e2x":
            return [sys.executable, "-m", "services.cli", *rest]
        assert program == "python", command
        return [sys.executable, *rest]

    def types(self, command: str, typed: str = "") -> str:
        """Run a command to its end; what it prints."""
        done = subprocess.run(
            self.words(command),
            env=self.variables,
            cwd=self.folder,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def starts(self, command: str) -> None:
        """Start a process that stays, with a folder of its own, as another host has one."""
        own = self.folder / f"host{len(self.started)}"
        own.mkdir()
        process = subprocess.Popen(
            self.words(command), env={**self.variables, "E2X_PROJECT": str(own)}, cwd=own
        )
        self.started[command] = process
        self.stack.callback(stop, process)


@pytest.fixture
def team(
    tmp_path: Path, postgres: Postgres, certificate: tuple[Path, Path]
) -> Iterator[tuple[Team, str]]:
    """An empty database, a broker and a bucket, all over TLS; and the address that the API has."""
    if weed() is None:
        pytest.skip(MISSING)
    postgres.speak_tls(*certificate)
    database = postgres.create_database("e2x_walked")
    store = Seaweed(tmp_path / "store", certificate)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with ExitStack() as stack:
        stack.callback(postgres.drop_database, "e2x_walked")
        broker = stack.enter_context(redis_over_tls(tmp_path, certificate))
        store.start()
        stack.callback(store.kill)
        place = store.settings()
        home = tmp_path / "home"
        home.mkdir()
        variables = {
            **{name: text for name, text in os.environ.items() if not name.startswith("E2X_")},
            **SMALL,
            "PYTHONPATH": str(ROOT),
            "E2X_ENVIRONMENT": "production",
            "E2X_PROJECT": str(home),
            "E2X_DATABASE_URL": f"{database}?sslmode=verify-full&sslrootcert={certificate[0]}",
            "E2X_BROKER_URL": f"{broker}?ssl_ca_certs={certificate[0]}",
            "E2X_STORAGE__URL": place["url"],
            "E2X_STORAGE__ENDPOINT": place["endpoint"],
            "E2X_STORAGE__ACCESS_KEY": ACCESS_KEY,
            "E2X_STORAGE__SECRET_KEY": SECRET_KEY,
            "SSL_CERT_FILE": str(certificate[0]),
            "E2X_API__PORT": str(port),
        }
        yield Team(home, variables, stack), f"http://127.0.0.1:{port}"


def answered(http: httpx.Client, path: str, until: Callable[[Any], bool], what: str) -> Any:
    """What an address answers once it is as one waits for it."""
    said: list[Any] = []

    def asked() -> bool:
        try:
            answer = http.get(path)
        except httpx.TransportError:
            return False
        said.append(answer.json())
        return answer.status_code == 200 and until(said[-1])

    wait_until(asked, LONG_S, what)
    return said[-1]


def test_the_table_names_every_process() -> None:
    found = commands()
    assert "python -m services.api" in found
    assert {"python -m services.worker relay", "python -m services.worker beat"} <= set(found)
    served = [queue for one in found for queue in one.partition("--queues ")[2].split(",") if queue]
    assert sorted(served) == sorted(QUEUES)


@pytest.mark.whole
@pytest.mark.timeout(3600)
def test_from_an_empty_database_to_a_decision(team: tuple[Team, str], tmp_path: Path) -> None:
    own, address = team
    own.types("python -m services.db.migrate upgrade")
    own.types("e2x users add ada --role admin", "a walk along the river\n")
    token = json.loads(own.types("e2x users token ada --json"))["token"]
    for command in commands():
        own.starts(command)
    with httpx.Client(
        base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=30 * PATIENCE
    ) as http:
        answered(http, "/readyz", lambda said: True, "the service is ready")
        own.types("e2x doctor")
        for role, seeds in (
            ("seed", range(6)),
            ("holdout", range(10, 13)),
            ("pool", range(20, 26)),
        ):
            own.types(f"e2x import {write_coco(tmp_path / role, pictures(*seeds))} --role {role}")
        own.types("e2x train")
        assert "champion" in own.types("e2x models list")
        sent = http.post(
            "/v1/frames",
            files={"file": ("frame.png", bad_images.png(40), "image/png")},
            data={"objects": json.dumps([{"box": [2, 3, 12, 11], "label": "car"}])},
        )
        assert sent.status_code == 201, sent.text
        answered(
            http,
            "/v1/failures",
            lambda said: any(one["state"] == "explained" for one in said["items"]),
            "the failure is explained",
        )
        assert own.types("e2x failures list")
        own.types("e2x cycle run")
        taken = http.post("/v1/tasks/lease", json={"owner": "ada", "count": 50}).json()["items"]
        assert taken, "the cycle asks for labels"
        for task in taken:
            objects = [{"box": [2, 3, 12, 11], "label": "car"}]
            answer = {"token": task["token"], "objects": objects, "author": "ada"}
            said = http.post(f"/v1/tasks/{task['id']}/submit", json=answer)
            assert said.status_code == 200, said.text
        cycles = answered(
            http,
            "/v1/cycles",
            lambda said: said["items"][0]["state"] in ("done", "failed"),
            "the cycle ends",
        )
        assert cycles["items"][0]["state"] == "done"
        assert len(json.loads(own.types("e2x models list --json"))) == 2
        own.types("e2x doctor --deep")
        assert http.get("/metrics").status_code == 200
    hosts = [own.folder, *own.folder.glob("host*")]
    assert [path for host in hosts for path in (host / "images").rglob("*.*")] == []
    assert [name for name, process in own.started.items() if process.poll() is not None] == []
