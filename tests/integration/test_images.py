"""The images of ``deploy/images``: built by podman, started read-only, given work, and stopped.

It takes root, podman, and about ten gigabytes and a quarter of an hour: ``--slow`` asks for it.
``E2X_IMAGE_BASE`` names the base image; without it Debian's Python is made one by debootstrap.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.common.processes import ROOT
from benchmarks.common.waiting import wait_until
from services.worker import redis_server
from tests.services.datasets_on_disk import pictures, write_coco

CONFIG = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
cgroups = "disabled"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
"""Within a container that has no cgroups of its own to give, and may not raise limits."""
SCRIPT = Path(__file__).with_name("images.sh")
PROGRAMS = ("podman", "unshare", "debootstrap")


@pytest.fixture
def redis_port(tmp_path: Path) -> Iterator[int]:
    """A broker on this host, which the containers share the network of."""
    port = 26390
    process = subprocess.Popen(
        [redis_server._executable(), "--port", str(port), "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    wait_until(lambda: redis_server.answers(f"redis://127.0.0.1:{port}"), 30, "Redis answers")
    yield port
    process.kill()
    process.wait()


@pytest.mark.slow
@pytest.mark.whole
@pytest.mark.timeout(5400)
def test_images_are_built_and_work_read_only_as_nobody_in_particular(
    tmp_path: Path, redis_port: int
) -> None:
    if os.geteuid() != 0 or any(shutil.which(name) is None for name in PROGRAMS):
        pytest.skip(f"NO IMAGE IS BUILT: it takes root, {', '.join(PROGRAMS)}")
    config = tmp_path / "containers.conf"
    config.write_text(CONFIG)
    data = tmp_path / "data"
    write_coco(data, pictures(0, 1, 2))
    for path in (tmp_path, *tmp_path.parents[:2], data, *data.rglob("*")):
        path.chmod(path.stat().st_mode | 0o055)
    variables = {
        **os.environ,
        "CONTAINERS_CONF": str(config),
        "ROOT": str(ROOT),
        "SCRATCH": str(tmp_path),
        "DATA": str(data),
        "BROKER": f"redis://127.0.0.1:{redis_port}/0",
    }

    # One mount namespace for all: the networks of containers are mounts in it.
    done = subprocess.run(
        ["unshare", "-m", "bash", str(SCRIPT)],
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-4000:]
    said = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert said["user"] == "10001"
    assert said["written"] == "refused"
    assert int(said["components"]) > 100
    assert said["embedded"] == "3"
    for name in ("api", "relay", "worker"):
        # Ended by itself, and was not killed after podman's patience of 30 s.
        assert said[f"{name}_exit"] in ("0", "143"), said
        assert float(said[f"{name}_stopped_s"]) < 25, said
