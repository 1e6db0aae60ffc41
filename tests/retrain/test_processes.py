"""Two processes over gloo that train together: one run, whoever begins it and whoever dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from retrain.config import DetectorConfig, TrainConfig
from retrain.engine import RESUME_FILE
from retrain.job import EXIT_ERROR, EXIT_OK, EXIT_STOPPED, run_job
from retrain.trainer import _initial_model

from .conftest import NAMES, make_manifest

pytestmark = [pytest.mark.whole, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
LONG_S = 600
"""On a machine that does much else: each layer's statistics wait for both to be given a core."""
DETECTOR = DetectorConfig("ssdlite_efficientnet_lite0", NAMES, (64, 96), 0.2, 0.8)
# Batches of 3, 3 and 1 images: of the last one the second process has none. Some layers' statistics
# are trained, the rate is one at which rounding stays rounding.
TRAIN = TrainConfig(epochs=3, batch_size=3, learning_rate=1e-4, seed=4, num_threads=1)
BY_STEPS = TrainConfig(
    batch_size=4, learning_rate=1e-4, seed=4, max_steps=6, augment="flip", num_threads=1
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    make_manifest(root / "images", 7).write(root / "few")
    make_manifest(root / "images", 40).write(root / "many")
    return root


def job_of(folder: Path, project: Path, config: TrainConfig = TRAIN, of: str = "few") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (manifest,) = (project / of).glob("*.jsonl")
    job = {
        "out": "run",
        "manifest": str(manifest),
        "image_root": str(project / "images"),
        "train": config.to_dict(),
        "detector": DETECTOR.to_dict(),
    }
    (folder / "job.json").write_text(json.dumps(job))
    return folder / "job.json"


def start(job: Path, processes: int = 2, *more: str) -> subprocess.Popen[bytes]:
    log = (job.parent / "log.txt").open("ab")
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "retrain", "train", "--job", str(job)),
            *("--processes", str(processes), *more),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=log,
        stderr=log,
    )


def end(process: subprocess.Popen[bytes], job: Path, wanted: int = EXIT_OK) -> dict[str, object]:
    status = process.wait(LONG_S)
    assert status == wanted, (job.parent / "log.txt").read_text()[-4000:]
    result = job.parent / "run" / "result.json"
    return json.loads(result.read_text()) if result.exists() else {}


def wait_for(condition, process: subprocess.Popen[bytes], job: Path) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert process.poll() is None, (job.parent / "log.txt").read_text()[-4000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """The training processes of a launcher, in the order in which they were started."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found if b"\0--job\0" in Path(f"/proc/{one}/cmdline").read_bytes()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def weights(job: Path) -> dict[str, torch.Tensor]:
    return load_file(job.parent / "run" / "model" / "model.safetensors")


def require_alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """The same way from the same start, to a twentieth of its length; statistics to rounding.

    Where a gradient is nothing but rounding, AdamW steps by its sign all the same.
    """
    start = _initial_model(TRAIN, DETECTOR, None)[0].state_dict()
    for statistics, share in ((False, 0.05), (True, 1e-4)):
        names = [
            name
            for name, tensor in one.items()
            if tensor.is_floating_point() and ("running_" in name) is statistics
        ]
        apart, moved = (
            torch.cat([(one[name] - second[name]).flatten() for name in names]).norm()
            for second in (other, start)
        )
        assert moved > 0
        assert apart < share * moved


def losses(result) -> list[float]:
    return [look["loss"] for look in result["history"]["looks"]]


@pytest.fixture(scope="module")
def alone(project, tmp_path_factory):
    job = job_of(tmp_path_factory.mktemp("alone"), project)
    assert run_job("train", job) == EXIT_OK
    return job, json.loads((job.parent / "run" / "result.json").read_text())


def test_two_make_the_steps_of_one(project, alone, tmp_path):
    job = job_of(tmp_path, project)
    result = end(start(job), job)
    one, told = alone
    assert result["history"]["steps"] == told["history"]["steps"] == 9
    assert losses(result) == pytest.approx(losses(told), rel=2e-4)
    require_alike(weights(one), weights(job))
    beat = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert (beat["step"], beat["steps"]) == (9, 9)


def test_begun_by_two_gone_on_with_by_one_and_the_other_way_round(project, alone, tmp_path):
    """Killed as a whole and stopped by hand; what is left over ends by itself."""
    one, told = alone
    for name, first, second in (("shrinks", 2, 1), ("grows", 1, 2)):
        job = job_of(tmp_path / name, project)
        process = start(job, first)
        wait_for((job.parent / "run" / "model" / RESUME_FILE).exists, process, job)
        started = children(process.pid) if first > 1 else []
        assert len(started) == (2 if first > 1 else 0)
        process.send_signal(signal.SIGKILL if first > 1 else signal.SIGTERM)
        process.wait(LONG_S)
        deadline = time.monotonic() + LONG_S
        while not all(map(gone, started)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        result = end(start(job, second), job)
        assert "resumes after epoch" in (job.parent / "log.txt").read_text()
        assert losses(result) == pytest.approx(losses(told), rel=2e-4)
        require_alike(weights(one), weights(job))


def test_the_death_of_one_ends_the_run_and_is_named(project, alone, tmp_path):
    job = job_of(tmp_path, project)
    process = start(job)
    wait_for((tmp_path / "run" / "model" / RESUME_FILE).exists, process, job)
    os.kill(children(process.pid)[1], signal.SIGKILL)
    error = end(process, job, EXIT_ERROR)["error"]
    assert error["code"] == "process_died"
    assert "training process 1 was killed by SIGKILL" in error["message"]
    assert error["retryable"] is True

    result = end(start(job), job)
    assert "resumes after epoch" in (tmp_path / "log.txt").read_text()
    assert losses(result) == pytest.approx(losses(alone[1]), rel=2e-4)


def test_asked_to_stop_both_stop_at_one_step(project, tmp_path):
    job = job_of(tmp_path, project, replace(TRAIN, epochs=50))
    process = start(job)
    wait_for((tmp_path / "run" / "model" / RESUME_FILE).exists, process, job)
    started = children(process.pid)
    process.terminate()
    assert end(process, job, EXIT_STOPPED) == {}
    assert all(map(gone, started))


def test_by_steps_the_share_held_back_is_measured_by_both(project, tmp_path):
    results = []
    for processes in (1, 2):
        job = job_of(tmp_path / str(processes), project, BY_STEPS, "many")
        results.append(end(start(job, processes), job)["history"])
    one, two = results
    assert one["validation_images"] == two["validation_images"] > 0
    assert (one["steps"], one["cooled_from"], one["ended"]) == (
        two["steps"],
        two["cooled_from"],
        two["ended"],
    )
    for mine, other in zip(one["looks"], two["looks"], strict=True):
        assert (mine["ap50"] is None) == (other["ap50"] is None)
        if mine["ap50"] is not None:
            assert other["ap50"] == pytest.approx(mine["ap50"], abs=0.02)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"batch_size": 1}, "config_invalid", "at least one for each"),
        ({}, "images_unreadable", "of 7 images cannot be read"),
    ],
)
def test_what_one_process_refuses_is_the_result(project, tmp_path, changes, code, words):
    """Damaged pictures come up in both; they are counted over both."""
    job = job_of(tmp_path, project, replace(TRAIN, **changes))
    if not changes:
        given = json.loads(job.read_text())
        for number in range(7):
            (tmp_path / f"{number}.png").write_bytes(b"no picture")
        job.write_text(json.dumps({**given, "image_root": str(tmp_path)}))
    error = end(start(job), job, EXIT_ERROR)["error"]
    assert error["code"] == code
    assert words in error["message"]


def test_two_hosts_find_each_other_by_the_address_of_the_first(project, alone, tmp_path):
    """Two launchers, one process each, as on two hosts with one folder."""
    job = job_of(tmp_path, project)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    hosts = [
        start(job, 1, "--machines", "2", "--machine-rank", str(rank), "--main-address", address)
        for rank in (0, 1)
    ]
    results = [end(host, job) for host in hosts]
    assert losses(results[0]) == pytest.approx(losses(alone[1]), rel=2e-4)
