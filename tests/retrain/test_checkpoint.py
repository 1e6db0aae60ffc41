"""Model folders: what is saved comes back, what is damaged is refused with a reason."""

import json

import numpy as np
import pytest
import torch

from retrain.checkpoint import CONFIG_FILE, WEIGHTS_FILE
from retrain.detector import SsdDetector
from retrain.errors import CheckpointCorrupt
from retrain.weights import WeightsRecord


@pytest.fixture
def folder(detector, tmp_path):
    return detector.save(tmp_path / "model", WeightsRecord("package", "x"))


def test_round_trip(detector, folder, pictures):
    loaded = SsdDetector.load(folder)
    assert loaded.version == detector.version
    assert loaded.class_names == detector.class_names
    for a, b in zip(loaded.predict(pictures), detector.predict(pictures), strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)
        np.testing.assert_array_equal(a.default_boxes, b.default_boxes)
    assert json.loads((folder / CONFIG_FILE).read_text())["weights"]["source"] == "package"
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]


def truncate(folder):
    data = (folder / WEIGHTS_FILE).read_bytes()
    (folder / WEIGHTS_FILE).write_bytes(data[: len(data) // 2])


def flip_a_byte(folder):
    data = bytearray((folder / WEIGHTS_FILE).read_bytes())
    data[-1000] ^= 0xFF
    (folder / WEIGHTS_FILE).write_bytes(data)


def make_it_a_pickle(folder):
    torch.save({"weights": torch.nn.Linear(2, 2)}, folder / WEIGHTS_FILE)


def change_the_config(folder):
    text = (folder / CONFIG_FILE).read_text()
    (folder / CONFIG_FILE).write_text(text.replace('"nms_iou": 0.45', '"nms_iou": 0.5'))


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (truncate, "not a whole safetensors"),
        (flip_a_byte, "not those of version"),
        (make_it_a_pickle, "not a whole safetensors"),
        (change_the_config, "not those of version"),
        (lambda folder: (folder / WEIGHTS_FILE).unlink(), "no such file"),
        (lambda folder: (folder / WEIGHTS_FILE).write_bytes(b""), "not a whole safetensors"),
        (lambda folder: (folder / CONFIG_FILE).unlink(), "no model folder"),
        (lambda folder: (folder / CONFIG_FILE).write_text("{"), "unreadable"),
        (lambda folder: (folder / CONFIG_FILE).write_text("{}"), "unreadable"),
    ],
)
def test_damage_is_refused(folder, damage, word):
    damage(folder)
    with pytest.raises(CheckpointCorrupt, match=word):
        SsdDetector.load(folder)


class Evil:
    def __reduce__(self):
        return (print, ("code from a pickle ran",))


def test_a_pickle_with_code_never_runs(tmp_path, capsys):
    from retrain.tensor_files import read_tensors

    torch.save({"x": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointCorrupt, match="refused"):
        read_tensors(tmp_path / "evil.pth")
    assert "ran" not in capsys.readouterr().out
