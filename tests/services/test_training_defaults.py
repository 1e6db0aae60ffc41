"""A job without a project trains what a project trains: there is one set of defaults."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

from curation.failures.default_boxes import FailureRules
from retrain.config import (
    ARCHITECTURES,
    FINE_TUNING,
    MIXED_PRECISION,
    DetectorConfig,
    GateRules,
    TrainConfig,
)
from retrain.job import run_job
from services.config import builders
from services.config.setting_groups import DetectorSettings, TrainingSettings
from services.config.settings import Settings

NAMES = ("background", "car")


def test_a_project_that_sets_nothing_has_the_defaults_of_the_science(tmp_path: Path) -> None:
    settings = Settings(project=tmp_path)
    assert builders.detector_config(settings, NAMES) == DetectorConfig(ARCHITECTURES[0], NAMES)
    first = builders.train_config(settings, fine_tune=False, seed=0, threads=0)
    assert first == TrainConfig()
    later = builders.train_config(settings, fine_tune=True, seed=0, threads=0)
    assert later == FINE_TUNING
    assert builders.gate_rules(settings) == GateRules()
    assert builders.failure_rules(settings) == FailureRules()


def test_what_can_be_set_reaches_the_training(tmp_path: Path) -> None:
    settings = Settings(
        project=tmp_path,
        training=TrainingSettings(
            epochs=3, finetune_epochs=2, learning_rate=0.01, finetune_learning_rate=0.02,
            batch_size=4, boost_new=5.0, ema=False, mixed_precision="bf16",
        ),
        detector=DetectorSettings(weights="random"),
    )  # fmt: skip
    common = {"seed": 7, "num_threads": 1, "batch_size": 4, "ema_decay": 0.0}
    common |= {"mixed_precision": "bf16", "weights": "random"}
    common |= {"freeze_stages": 0, "freeze_batch_norm": False}
    assert builders.train_config(settings, fine_tune=False, seed=7, threads=1) == replace(
        TrainConfig(), epochs=3, learning_rate=0.01, **common
    )
    assert builders.train_config(settings, fine_tune=True, seed=7, threads=1) == replace(
        FINE_TUNING, epochs=2, learning_rate=0.02, boost=5.0, **common
    )


def test_choices_are_the_same() -> None:
    architectures = DetectorSettings.model_fields["architecture"].annotation
    precisions = TrainingSettings.model_fields["mixed_precision"].annotation
    assert set(get_args(architectures)) == set(ARCHITECTURES)
    assert set(get_args(precisions)) == set(MIXED_PRECISION)


def test_the_largest_default_box_that_can_be_set_can_be_built() -> None:
    scale = DetectorSettings.model_fields["max_scale"].metadata
    (most,) = (bound.le for bound in scale if hasattr(bound, "le"))
    assert DetectorConfig(ARCHITECTURES[0], NAMES, max_scale=most).max_scale == most


def test_a_job_fills_in_the_same_defaults(tmp_path: Path) -> None:
    assert TrainConfig.from_dict({"seed": 3}, FINE_TUNING) == replace(FINE_TUNING, seed=3)
    assert TrainConfig.from_dict({}) == TrainConfig()
    assert TrainConfig.from_dict({"epochs": 2}, TrainConfig()) == replace(TrainConfig(), epochs=2)
    names = {one.name for one in fields(TrainConfig)}
    job = {"out": "run", "manifest": "none.jsonl", "image_root": ".", "detector": {}}
    (tmp_path / "job.json").write_text(json.dumps({**job, "train": {"epoch": 1}}))
    assert run_job("train", tmp_path / "job.json") == 1
    said = json.loads((tmp_path / "run" / "result.json").read_text())["error"]["message"]
    assert "epoch" in said
    assert all(name in said for name in names)
