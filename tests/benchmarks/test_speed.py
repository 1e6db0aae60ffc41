"""Parts of the speed benchmark on a small detector: half precision, and processes side by side."""

import pytest
from PIL import Image

from benchmarks.speed import precision, workers
from benchmarks.speed.scene import Clock, load
from tests.tiny_ssd import tiny_ssd
from tests.toy import textured_image


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """A saved detector, beside images of its world."""
    root = tmp_path_factory.mktemp("speed")
    folder, places = root / "models" / "street-tiny-0", root / "street" / "images"
    tiny_ssd().save(folder)
    places.mkdir(parents=True)
    for number in range(3):
        Image.fromarray(textured_image(number, 96, 128)).save(places / f"{number}.jpg")
    return folder, root


def test_rows_by_method_and_precision(detector):
    folder, data = detector
    rows = precision.measure([folder], data, "cpu", Clock("cpu", "cpu"), ["bf16"], 2)
    assert [(row["detector"], row["method"], row["precision"]) for row in rows] == [
        ("street-tiny-0", "gp_shap", "bf16"),
        ("street-tiny-0", "e2x", "bf16"),
    ]
    for row in rows:
        assert row["detections"] == 2 * precision.TARGETS
        assert row["not_finite"] == 0
        assert 0.5 < row["rho_least"] <= row["rho_median"] < 1  # near, and not the same passes
        assert 0 <= row["agree"] <= 1
        assert row["s_a_detection"] > 0


@pytest.mark.whole
def test_processes_start_together_and_each_does_its_share(detector):
    folder, data = detector
    scene = load(folder, data, "cpu")
    rows = workers.measure(folder, scene, "cpu", "fp32", 1, most=2, methods=["e2x"])
    assert [(row["method"], row["processes"]) for row in rows] == [("e2x", 1), ("e2x", 2)]
    assert rows[0]["times_one"] == 1
    for row in rows:
        assert row["detections_an_image"] == workers.TARGETS
        assert row["detections_per_s"] > 0
