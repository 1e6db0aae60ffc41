"""Training of the bridge as a job: pictures, progress, an end by time, and what goes wrong."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest

from curation.kernel.images import encode_png
from curation.synthesis.bridge import checkpoint
from curation.synthesis.bridge.job import EXAMPLES, PROGRESS, RESULT, run_job
from tests.curation.synthesis_pictures import donor


@pytest.fixture(autouse=True)
def _signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Four pictures with an object each, two of the pool, one that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    rows = []
    for number in range(6):
        one = donor(number)
        (folder / f"{number}.png").write_bytes(encode_png(one.pixels))
        box, label = (list(one.box_xyxy), 1) if number < 4 else (None, 0)
        rows.append({"image": str(number), "file": f"{number}.png", "box": box, "label": label})
    (folder / "broken.png").write_bytes(b"no picture")
    rows.append({"image": "broken", "file": "broken.png", "box": None, "label": 0})
    return folder, rows


def job(tmp_path, pictures, **more):
    folder, rows = pictures
    crops = tmp_path / "crops.jsonl"
    crops.write_text("".join(json.dumps(row) + "\n" for row in more.pop("rows", rows)))
    told = {
        "out": str(tmp_path),
        "crops": str(crops),
        "image_root": str(folder),
        "limits": {"min_side_px": 8},
        "encoder": {"input_size_hw": [64, 96], "weights": "random"},
        "num_classes": 2,
        "size": {"side_px": 16, "channels": [16, 24], "token_width": 16},
        "recipe": {"steps": 4, "batch": 2, "save_every": 2, "warm_up": 1},
        "seconds": None,
        "device": "cpu",
        "num_threads": 1,
        **more,
    }
    file = tmp_path / "job.json"
    file.write_text(json.dumps(told))
    return file


def test_it_trains_tells_how_far_it_is_and_goes_on_with_more_steps(tmp_path, pictures):
    assert run_job(job(tmp_path, pictures)) == 0
    result = json.loads((tmp_path / RESULT).read_text())
    assert (result["step"], result["steps"], result["windows"]) == (4, 4, 6)
    assert np.isfinite(result["loss"])
    assert [one.split(":")[0] for one in result["unreadable"]] == ["broken"]
    assert result["weights"] == checkpoint.digest(tmp_path)
    beat = json.loads((tmp_path / PROGRESS).read_text())
    assert (beat["epoch"], beat["step"], beat["steps"]) == ("train", 4, 4)
    looked = (tmp_path / EXAMPLES).stat().st_mtime_ns
    more = job(tmp_path, pictures, recipe={"steps": 6, "batch": 2, "save_every": 2, "warm_up": 1})
    assert run_job(more) == 0
    assert json.loads((tmp_path / RESULT).read_text())["step"] == 6
    assert (tmp_path / EXAMPLES).stat().st_mtime_ns == looked  # no picture was looked at again
    (tmp_path / EXAMPLES).write_bytes(b"half a file")
    assert run_job(more) == 0  # it is made anew, and fits the weights


def test_it_ends_when_its_time_is_up_and_keeps_what_it_has(tmp_path, pictures):
    long = {"steps": 100_000, "batch": 2, "save_every": 1000, "warm_up": 1}
    assert run_job(job(tmp_path, pictures, recipe=long, seconds=0.05)) == 0
    result = json.loads((tmp_path / RESULT).read_text())
    assert result["step"] < 100_000
    assert result["weights"] == checkpoint.digest(tmp_path)
    spent = result["seconds"]
    assert run_job(job(tmp_path, pictures, recipe=long, seconds=0.05)) == 0
    again = json.loads((tmp_path / RESULT).read_text())
    assert again["step"] == result["step"]  # the time was up before
    assert again["seconds"] >= spent


def test_what_cannot_be_trained_on_says_what_to_do(tmp_path, pictures):
    broken = [row for row in pictures[1] if row["image"] == "broken"]
    assert run_job(job(tmp_path, pictures, rows=broken)) == 1
    error = json.loads((tmp_path / RESULT).read_text())["error"]
    assert error["code"] == "generator_unusable"
    assert "none of 1 pictures can be read" in error["message"]
    assert not error["retryable"]
    assert run_job(job(tmp_path, pictures, rows=[])) == 1
    assert "e2x import" in json.loads((tmp_path / RESULT).read_text())["error"]["message"]


def test_other_pictures_in_the_same_folder_are_refused(tmp_path, pictures):
    assert run_job(job(tmp_path, pictures)) == 0
    assert run_job(job(tmp_path, pictures, rows=pictures[1][:3])) == 1
    assert "other examples" in json.loads((tmp_path / RESULT).read_text())["error"]["message"]
