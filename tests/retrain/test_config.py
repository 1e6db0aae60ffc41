"""Settings refuse what cannot work and survive JSON."""

import json

import pytest

from retrain.config import DetectorConfig, GateRules, TrainConfig
from retrain.errors import ConfigInvalid

NAMES = ("background", "a", "b")


@pytest.mark.parametrize(
    "config",
    [
        DetectorConfig("ssd300_vgg16", NAMES, (300, 300), aspect_ratios=((2.0,), (2.0, 3.0))),
        TrainConfig(epochs=3, boost=2.5),
        GateRules(noise_floor=0.01),
    ],
)
def test_json_round_trip(config):
    text = json.dumps(config.to_dict())
    assert type(config).from_dict(json.loads(text)) == config


@pytest.mark.parametrize(
    ("cls", "values", "word"),
    [
        (DetectorConfig, {"architecture": "yolo", "class_names": NAMES}, "yolo"),
        (DetectorConfig, {"architecture": "ssd300_vgg16", "class_names": ("background",)}, "class"),
        (DetectorConfig, {"architecture": "ssd300_vgg16"}, "class_names"),
        (
            DetectorConfig,
            {"architecture": "ssd300_vgg16", "class_names": NAMES, "input_size_hw": (32, 64)},
            "64",
        ),
        (
            DetectorConfig,
            {"architecture": "ssd300_vgg16", "class_names": NAMES, "scales": (0.3, 0.2)},
            "rising",
        ),
        (
            DetectorConfig,
            {"architecture": "ssd300_vgg16", "class_names": NAMES, "min_scale": 0.9},
            "min_scale",
        ),
        (TrainConfig, {"epochs": -1}, "epochs"),
        (TrainConfig, {"learning_rate": -1}, "learning_rate"),
        (TrainConfig, {"mixed_precision": "int8"}, "int8"),
        (TrainConfig, {"weights": "random", "freeze_stages": 2}, "freeze"),
        (TrainConfig, {"weights": "random", "freeze_stages": 0}, "freeze_batch_norm"),
        (TrainConfig, {"epohcs": 3}, "epohcs"),
        (GateRules, {"max_map_drop": 3}, "max_map_drop"),
    ],
)
def test_contradictions_are_refused_by_name(cls, values, word):
    with pytest.raises(ConfigInvalid, match=word):
        cls.from_dict(values)
