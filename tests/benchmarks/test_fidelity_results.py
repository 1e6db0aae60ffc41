"""The file of committed tables is written part by part: what did not run stays."""

import argparse
import json

from benchmarks.fidelity import cases, results
from benchmarks.fidelity.sizes import FULL, SMALL


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
