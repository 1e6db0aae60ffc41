"""The supervised process: heartbeat, result, errors, a kill in the middle."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks.common.waiting import PATIENCE
from curation.kernel.manifest import Manifest
from retrain.config import DetectorConfig, TrainConfig
from retrain.detector import SsdDetector
from retrain.engine import RESUME_FILE
from retrain.job import EXIT_ERROR, EXIT_OK, EXIT_STOPPED, run_job
from retrain.trainer import train

from .conftest import NAMES, make_manifest

DETECTOR = DetectorConfig("ssdlite_efficientnet_lite0", NAMES, (64, 96), 0.2, 0.8)
TRAIN = TrainConfig(epochs=6, batch_size=8, num_threads=1)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    make_manifest(root / "images", 8).write(root / "manifests")
    return root


def write_job(folder, project, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    (manifest,) = (project / "manifests").glob("*.jsonl")
    job = {
        "out": "run",
        "manifest": str(manifest),
        "image_root": str(project / "images"),
        "train": TRAIN.to_dict(),
        "detector": DETECTOR.to_dict(),
        **changes,
    }
    (folder / "job.json").write_text(json.dumps(job))
    return folder / "job.json"


def start(action, job):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "retrain", action, "--job", str(job)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)


def wait_for(condition, process, timeout_s=120.0 * PATIENCE):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process is None or process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_killed_and_started_again_equals_never_killed(project, tmp_path):
    job = write_job(tmp_path, project)
    out = tmp_path / "run"
    resume = out / "model" / RESUME_FILE
    first = start("train", job)
    wait_for(resume.exists, first)
    first.kill()
    first.communicate()
    assert not (out / "result.json").exists()
    beat = json.loads((out / "progress.json").read_text())
    assert {"phase", "beat_s", "updated_s"} <= set(beat)

    second = start("train", job)
    _, log = second.communicate(timeout=120 * PATIENCE)
    assert second.returncode == EXIT_OK, log.decode()
    assert b"resumes after epoch" in log
    result = json.loads((out / "result.json").read_text())
    beat = json.loads((out / "progress.json").read_text())
    assert (beat["step"], beat["steps"], beat["epochs"]) == (6, 6, 6)
    assert result["weights"]["source"] == "package"

    (path,) = (project / "manifests").glob("*.jsonl")
    whole = train(TRAIN, DETECTOR, Manifest.read(path), project / "images", tmp_path / "whole")
    assert result["version"] == whole.version
    assert SsdDetector.load(Path(result["model"])).version == whole.version


def test_a_stop_signal_leaves_a_run_that_resumes(project, tmp_path):
    job = write_job(tmp_path, project)
    out = tmp_path / "run"

    def stop():
        wait_for((out / "model" / RESUME_FILE).exists, None)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=stop)
    thread.start()
    assert run_job("train", job) == EXIT_STOPPED
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    assert not (out / "result.json").exists()
    assert (out / "model" / RESUME_FILE).exists()


def test_evaluates_in_this_process(project, tmp_path, detector):
    detector.save(tmp_path / "model")
    job = write_job(tmp_path, project, model="model", num_threads=1)
    assert run_job("evaluate", job) == EXIT_OK
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    report = json.loads(Path(result["report"]).read_text())
    assert report["detector_version"] == detector.version
    assert report["num_images"] == 8
    beat = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert (beat["phase"], beat["step"], beat["steps"]) == ("evaluating", 8, 8)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"train": {"epochs": -1}}, "config_invalid"),
        ({"image_root": "nowhere"}, "images_unreadable"),
        ({"init": "nowhere"}, "checkpoint_corrupt"),
        ({"manifest": None}, "config_invalid"),
        ({"manifest": "gone.jsonl"}, "internal_error"),
    ],
)
def test_errors_are_written_down(project, tmp_path, changes, code):
    job = write_job(tmp_path, project, **changes)
    assert run_job("train", job) == EXIT_ERROR
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["error"]["code"] == code
    assert result["error"]["message"]
