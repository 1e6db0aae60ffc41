"""The file of committed tables is written part by part: what did not run stays."""

import argparse
import json

from benchmarks.common.units import Units
from benchmarks.fidelity import cases, results
from benchmarks.fidelity.sizes import FULL, SMALL
from benchmarks.fidelity.study import load
from tests.tiny_ssd import tiny_ssd


def arguments(**changed):
    given = {
        "architectures": [results.DEFAULT_ARCHITECTURE],
        "images": None,
        "worlds": cases.WORLDS,
        "size": "small",
        "threads": 1,
        "device": "cpu",
    }
    return argparse.Namespace(**(given | changed))


def test_a_part_that_runs_alone_leaves_the_others_in_the_file(tmp_path):
    exact = {"exact": [{"method": "e2x", "rho": 0.9}]}
    classes = {"classes": [{"method": "crp", "rho": -1.0}]}
    results.write(arguments(), ["exact"], SMALL, exact, {"rho": {"value": 0.9}}, {}, tmp_path)
    again = {"classes": [{"method": "crp", "rho": -0.5}]}
    results.write(arguments(), ["sanity"], SMALL, classes, {}, {}, tmp_path)
    path = results.write(arguments(threads=2), ["sanity"], FULL, again, {}, {}, tmp_path)

    written = json.loads(path.read_text())
    assert written["tables"] == exact | again
    assert written["bars"] == {"rho": {"value": 0.9}}
    assert written["parts"]["exact"]["sizes"] == {"exact_images": SMALL.exact_images}
    assert written["parts"]["sanity"]["sizes"] == {"sanity_images": FULL.sanity_images}
    assert "--part exact --size small" in written["parts"]["exact"]["command"]
    assert "--threads 2 --write" in written["parts"]["sanity"]["command"]


def test_kinds_are_those_of_the_converged_part(tmp_path):
    results.write(arguments(), ["converged"], SMALL, {}, {}, {"FN": 2}, tmp_path)
    path = results.write(arguments(), ["exact"], SMALL, {}, {}, {}, tmp_path)
    assert json.loads(path.read_text())["detections_by_kind"] == {"FN": 2}


def test_other_architectures_have_a_file_of_their_own(tmp_path):
    given = arguments(architectures=["ssd300_vgg16"], images=1, worlds=["bccd"])
    path = results.write(given, ["exact"], SMALL, {}, {}, {}, tmp_path)
    assert path.name == "fidelity-ssd300_vgg16.json"
    (part,) = json.loads(path.read_text())["parts"].values()
    command = part["command"]
    assert "--images 1 --worlds bccd --architectures ssd300_vgg16" in command


def test_what_was_asked_for_stands_in_the_command(tmp_path):
    given = arguments(images=18, pda=1, asked=[50, 200], precision="bf16")
    path = results.write(given, ["figure2"], SMALL, {}, {}, {}, tmp_path)
    command = json.loads(path.read_text())["parts"]["figure2"]["command"]
    assert "--images 18 --pda 1 --asked 50 200 " in command
    assert "--precision bf16 --write" in command


def test_a_world_may_have_the_sign_in_its_name(tmp_path):
    folder = tiny_ssd().save(tmp_path / "street-away-tiny_net-0")
    found = load(folder, Units(tmp_path / "units.jsonl"), tmp_path, "cpu")
    assert (found.world, found.architecture) == ("street-away", "tiny_net")


def test_in_half_precision_nothing_is_taken_from_the_cache_of_full(tmp_path):
    folder, units = tiny_ssd().save(tmp_path / "street-tiny_net-0"), Units(tmp_path / "units.jsonl")
    full, half = (load(folder, units, tmp_path, "cpu", one) for one in ("fp32", "bf16"))
    assert full.key("price") != half.key("price")
