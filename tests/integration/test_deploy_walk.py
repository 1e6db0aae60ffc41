"""``deploy/README.md`` walked: each process by the command of its table, over TLS, in production.

From empty folders, a bucket and a database without a table, to a frame that failed, was reported
over HTTP and is explained. No part of it is started by ``e2x up``.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.common.buckets import ACCESS_KEY, MISSING, SECRET_KEY, Seaweed, weed
from benchmarks.common.databases import ACCOUNT, Postgres, run_postgres
from benchmarks.common.waiting import wait_until
from services.worker import redis_server
from tests import bad_images
from tests.certificates import certificate
from tests.services.datasets_on_disk import pictures, write_coco

__all__ = ["certificate"]
ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "deploy" / "README.md").read_text()
LONG_S = 900
PASSWORD = "correct horse battery"
SMALL = {
    "E2X_DETECTOR__WEIGHTS": "random",
    "E2X_DETECTOR__INPUT_HEIGHT_PX": "64",
    "E2X_DETECTOR__INPUT_WIDTH_PX": "64",
    "E2X_TRAINING__EPOCHS": "1",
    "E2X_TRAINING__BATCH_SIZE": "4",
    "E2X_EXPLANATION__NUM_SAMPLES": "16",
    "E2X_EXPLANATION__MAX_FAILURES_PER_IMAGE": "1",
    "E2X_EXPLANATION__MIN_RECALL": "0",
    "E2X_SELECTION__ENCODER_HEIGHT_PX": "64",
    "E2X_SELECTION__ENCODER_WIDTH_PX": "96",
    "E2X_WORKERS__THREADS": "1",
}
"""A detector that is trained in seconds; nothing of it is about how the parts are run."""


def commands() -> list[list[str]]:
    """The processes of the table, as their commands stand there; without the watched folder."""
    section = TABLE.partition("## Processes")[2].partition("##")[0]
    found = re.findall(r"^\| [^|]+\| `((?:python -m|e2x) [^`]+)` \|", section, re.MULTILINE)
    return [one.split() for one in found if "watch" not in one]


@dataclass(frozen=True, slots=True)
class Place:
    """A machine's folder, with the variables that its processes are given."""

    folder: Path
    variables: dict[str, str]

    def command(self, words: list[str]) -> list[str]:
        """As the shell would find it in the environment of this interpreter."""
        programs = {"python": [sys.executable], "e2x": [sys.executable, "-m", "services.cli"]}
        return [*programs[words[0]], *words[1:]]

    def environment(self) -> dict[str, str]:
        kept = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder.parent), "PYTHONPATH": str(ROOT)}
        return {**kept, "OMP_NUM_THREADS": "1", "E2X_PROJECT": str(self.folder), **self.variables}

    def run(self, line: str, typed: str = "") -> str:
        """A command that must succeed; what it said."""
        done = subprocess.run(
            self.command(line.split()),
            env=self.environment(),
            cwd=self.folder.parent,
            input=typed,
            capture_output=True,
            text=True,
            timeout=LONG_S,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stderr[-3000:]}{done.stdout[-2000:]}"
        return done.stdout

    @contextmanager
    def running(self, words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        log = self.folder.parent / f"{self.folder.name}-{'-'.join(words[-2:])}.log".replace("/", "")
        with log.open("wb") as out:
            process = subprocess.Popen(
                self.command(words),
                env=self.environment(),
                cwd=self.folder.parent,
                stdout=out,
                stderr=out,
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def secured_postgres(server: Postgres, certificate: tuple[Path, Path]) -> str:
    """The URL of a new database without tables, to a server that speaks TLS by now."""
    for path, name in zip(certificate, ("e2x.pem", "e2x.key"), strict=True):
        copy = server._data / name
        shutil.copy(path, copy)
        copy.chmod(0o600)
        shutil.chown(copy, ACCOUNT)
    for setting, value in (("cert_file", "e2x.pem"), ("key_file", "e2x.key")):
        server._execute(f"ALTER SYSTEM SET ssl_{setting} = '{value}'")
    server._execute("ALTER SYSTEM SET ssl = on")
    server._control("reload")
    url = server.create_database("walk")
    return f"{url}?sslmode=verify-full&sslrootcert={certificate[0]}"


@contextmanager
def secured_redis(folder: Path, certificate: tuple[Path, Path]) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("NO WALK OF THE DEPLOYMENT RUNS: apt-get install redis-server")
    port, (chain, key) = free_port(), certificate
    tls = ["--tls-cert-file", chain, "--tls-key-file", key, "--tls-ca-cert-file", chain]
    plain = ["--tls-auth-clients", "no", "--save", "", "--dir", folder]
    process = subprocess.Popen(
        [program, "--port", "0", "--tls-port", str(port), *tls, *plain], stdout=subprocess.DEVNULL
    )
    url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={chain}"
    try:
        wait_until(lambda: redis_server.answers(url), 60, "Redis answers")
        yield url
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_the_table_names_every_process() -> None:
    shown = [" ".join(one) for one in commands()]
    assert "python -m services.api" in shown
    served = {queue for one in shown for queue in one.partition("--queues ")[2].split(",") if queue}
    assert served == {"explain", "embed", "index", "train", "default"}


@pytest.mark.whole
@pytest.mark.timeout(3600)
def test_from_nothing_to_an_explained_failure(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    if weed() is None:
        pytest.skip(MISSING)
    with ExitStack() as stack:
        server = stack.enter_context(contextmanager(run_postgres)())
        bucket = Seaweed(tmp_path / "bucket", certificate)
        bucket.start()
        stack.callback(bucket.kill)
        port = free_port()
        variables = {
            "E2X_ENVIRONMENT": "production",
            "E2X_DATABASE_URL": secured_postgres(server, certificate),
            "E2X_BROKER_URL": stack.enter_context(secured_redis(tmp_path, certificate)),
            "E2X_STORAGE__URL": "s3://e2x/walk",
            "E2X_STORAGE__ENDPOINT": bucket.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "SSL_CERT_FILE": str(certificate[0]),
            "E2X_API__PORT": str(port),
            **SMALL,
        }
        front, gpu = (Place(tmp_path / name, variables) for name in ("front", "gpu"))
        front.run("python -m services.db.migrate upgrade")
        front.run("e2x users add ada --role admin", typed=PASSWORD + "\n")
        token = json.loads(front.run("e2x users token ada --json"))["token"]
        for words in commands():
            behind = words[-1] in ("explain", "embed", "index", "train")
            stack.enter_context((gpu if behind else front).running(words))

        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=60) as client:

            def ready() -> bool:
                try:
                    return client.get("/readyz").status_code == 200
                except httpx.HTTPError:
                    return False

            wait_until(ready, LONG_S, "the API, relay and workers are ready")
            for role, numbers in (("seed", range(6)), ("holdout", range(10, 13))):
                folder = write_coco(tmp_path / role, pictures(*numbers))
                front.run(f"e2x import {folder} --role {role}")
            front.run("e2x train")
            doctor = front.run("e2x doctor")
            assert "fail" not in doctor.lower(), doctor

            assert client.get("/v1/failures").status_code == 401
            client.headers["Authorization"] = f"Bearer {token}"
            missed = json.dumps([{"box": [2, 3, 12, 11], "label": "car"}])
            sent = client.post(
                "/v1/frames",
                files={"file": ("frame.png", bad_images.png(40))},
                data={"objects": missed},
            )
            assert sent.status_code == 201, sent.text

            deadline = time.monotonic() + LONG_S
            found: list[dict[str, Any]] = []
            while not any(one["state"] == "explained" for one in found):
                assert time.monotonic() < deadline, (found, front.run("e2x units list --json"))
                time.sleep(1)
                answer = client.get("/v1/failures")
                assert answer.status_code == 200, answer.text
                found = answer.json()["items"]
        for place in (front, gpu):
            kept = [path for path in (place.folder / "images").rglob("*") if path.is_file()]
            assert kept == []
