"""The benchmark of half precision tells a map that stays from one that does not."""

from PIL import Image

from benchmarks.speed import precision
from benchmarks.speed.scene import Clock
from tests.tiny_ssd import tiny_ssd
from tests.toy import textured_image


def test_rows_by_method_and_precision(tmp_path):
    folder, places = tmp_path / "models" / "street-tiny-0", tmp_path / "street" / "images"
    tiny_ssd().save(folder)
    places.mkdir(parents=True)
    for number in range(3):
        Image.fromarray(textured_image(number, 96, 128)).save(places / f"{number}.jpg")
    rows = precision.measure([folder], tmp_path, "cpu", Clock("cpu", "cpu"), ["bf16"], 2)
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
