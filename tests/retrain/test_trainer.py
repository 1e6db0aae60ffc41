"""Training: learns, repeats itself under a seed, stops and resumes, refuses nonsense."""

import logging
from dataclasses import replace

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from curation.kernel.types import ImageArray
from retrain.config import DetectorConfig, TrainConfig
from retrain.detector import SsdDetector
from retrain.engine import RESUME_FILE, LossModule, backbone_units, freeze, make_optimiser
from retrain.errors import (
    CheckpointCorrupt,
    ImagesUnreadable,
    NonFiniteLoss,
    TrainingInterrupted,
)
from retrain.evaluate import evaluate
from retrain.ssd import build
from retrain.trainer import train

from .conftest import NAMES, make_manifest

TINY = DetectorConfig("ssdlite_efficientnet_lite0", NAMES, (64, 96), 0.2, 0.8)
SHORT = TrainConfig(epochs=3, batch_size=3, learning_rate=2e-3, seed=4)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def manifest(store):
    return make_manifest(store, 8, {2: "failure"})


@pytest.fixture(scope="module")
def short(manifest, store, tmp_path_factory) -> SsdDetector:
    return train(SHORT, TINY, manifest, store, tmp_path_factory.mktemp("short"))


def test_overfits_a_handful_of_pictures(manifest, store, tmp_path):
    config = TrainConfig(epochs=20, batch_size=4, augment="flip", learning_rate=3e-3)
    seen = []
    detector = train(config, TINY, manifest, store, tmp_path, on_progress=seen.append)
    report = evaluate(detector, manifest, store)
    assert report.map50 is not None
    assert report.map50 > 0.9
    assert [p.step for p in seen] == list(range(1, 41))
    assert seen[-1].loss < seen[0].loss / 2
    assert seen[-1].eta_s == pytest.approx(0)
    assert not (tmp_path / RESUME_FILE).exists()
    assert SsdDetector.load(tmp_path).version == detector.version


def test_equal_seeds_give_equal_weights(short, manifest, store, tmp_path):
    again = train(SHORT, TINY, manifest, store, tmp_path / "again")
    assert again.version == short.version
    other = train(
        TrainConfig(epochs=3, batch_size=3, seed=5), TINY, manifest, store, tmp_path / "other"
    )
    assert other.version != short.version


def test_the_global_generator_is_left_alone(manifest, store, tmp_path):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    train(TrainConfig(epochs=1, batch_size=8), TINY, manifest, store, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_stopped_and_resumed_equals_never_stopped(short, manifest, store, tmp_path):
    steps = []
    with pytest.raises(TrainingInterrupted):
        train(
            SHORT,
            TINY,
            manifest,
            store,
            tmp_path,
            on_progress=steps.append,
            should_stop=lambda: len(steps) >= 5,  # in the middle of the second epoch
        )
    assert (tmp_path / RESUME_FILE).exists()
    steps.clear()
    elsewhere = replace(SHORT, num_threads=1, cache_bytes=0)  # a machine with less to spare
    resumed = train(elsewhere, TINY, manifest, store, tmp_path, on_progress=steps.append)
    assert steps[0].step == 4
    assert resumed.version == short.version


def test_another_runs_resume_file_is_not_used(manifest, store, tmp_path, caplog):
    count = []
    with pytest.raises(TrainingInterrupted):
        train(
            SHORT,
            TINY,
            manifest,
            store,
            tmp_path,
            on_progress=count.append,
            should_stop=lambda: len(count) >= 3,
        )
    count.clear()
    with caplog.at_level(logging.WARNING):
        train(
            TrainConfig(epochs=1, batch_size=3),
            TINY,
            manifest,
            store,
            tmp_path,
            on_progress=count.append,
        )
    assert "starting over" in caplog.text
    assert count[0].step == 1


def test_a_damaged_resume_file_is_refused(manifest, store, tmp_path):
    (tmp_path / RESUME_FILE).write_bytes(b"half a file")
    with pytest.raises(CheckpointCorrupt, match="delete it to start over"):
        train(SHORT, TINY, manifest, store, tmp_path)


def test_fine_tuning_starts_from_the_given_model(short, manifest, store, tmp_path):
    folder = short.save(tmp_path / "start")
    config = TrainConfig(epochs=1, batch_size=8, learning_rate=1e-7, ema_decay=0)
    tuned = train(config, TINY, manifest, store, tmp_path / "tuned", init=folder)
    start = short.state()
    weight = "head.classification_head.module_list.0.1.weight"
    torch.testing.assert_close(tuned.state()[weight], start[weight], rtol=0, atol=1e-5)
    assert tuned.version != short.version


@pytest.mark.filterwarnings("ignore:.*overflow")
def test_a_loss_that_explodes_is_named(manifest, store, tmp_path):
    config = TrainConfig(
        epochs=3,
        batch_size=2,
        learning_rate=0.99,
        clip_norm=0,
        backbone_rate_factor=1.0,
        warmup_share=0,
        ema_decay=0,
        weight_decay=1e6,
    )
    with pytest.raises(NonFiniteLoss, match="learning rate"):
        train(config, TINY, manifest, store, tmp_path)


def test_weights_that_the_last_step_ruins_are_not_kept(manifest, store, tmp_path):
    """The loss before a step says nothing of the weights after it."""
    steps = 0

    def ruin(optimiser, *_):
        nonlocal steps
        steps += 1
        if steps == 2:
            with torch.no_grad():
                optimiser.param_groups[0]["params"][0].view(-1)[0] = float("nan")

    hook = register_optimizer_step_post_hook(ruin)
    try:
        config = TrainConfig(epochs=1, batch_size=4)
        with pytest.raises(NonFiniteLoss, match=r"1 of \d+ values .* learning rate, now 0\.001"):
            train(config, TINY, manifest, store, tmp_path / "out")
    finally:
        hook.remove()
    assert steps == 2
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_bad_data_stops_before_the_first_step(manifest, store, tmp_path):
    with pytest.raises(ImagesUnreadable, match="8 of 8 images cannot be read"):
        train(SHORT, TINY, manifest, tmp_path / "elsewhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_an_image_that_cannot_be_read_costs_itself(batch_size, tmp_path, caplog):
    manifest = make_manifest(tmp_path / "store", 4)
    (tmp_path / "store" / "2.png").write_bytes(b"no picture")
    config = TrainConfig(epochs=2, batch_size=batch_size, seed=4)
    seen, lost = [], []
    with caplog.at_level(logging.WARNING):
        train(
            config,
            TINY,
            manifest,
            tmp_path / "store",
            tmp_path / "out",
            on_progress=seen.append,
            on_lost=lost.extend,
        )
    assert lost == ["2.png"]
    assert "trained without 1 of 4 images: 2.png" in caplog.text
    assert seen[-1].step == seen[-1].steps


def test_too_many_that_cannot_be_read_end_the_run(tmp_path):
    manifest = make_manifest(tmp_path / "store", 4)
    for number in (1, 2):
        (tmp_path / "store" / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(ImagesUnreadable, match=r"2 of 4 images.*backup"):
        train(SHORT, TINY, manifest, tmp_path / "store", tmp_path / "out")


@pytest.mark.parametrize("architecture", ["ssd300_vgg16", "ssdlite320_mobilenet_v3_large"])
def test_the_other_architectures_train(architecture, manifest, store, tmp_path):
    detector_config = DetectorConfig(architecture, NAMES, (64, 96), 0.2, 0.8)
    config = TrainConfig(
        epochs=1,
        batch_size=8,
        weights="random",
        freeze_stages=0,
        freeze_batch_norm=False,
        ema_decay=0,
    )
    detector = train(config, detector_config, manifest, store, tmp_path)
    image: ImageArray = torch.zeros(50, 60, 3, dtype=torch.uint8).numpy()
    assert len(detector.propose([image])[0].probabilities) == detector.num_default_boxes


def test_frozen_parts_stay_and_rates_differ():
    model = build(TINY)
    freeze(model, 3)
    config = TrainConfig(learning_rate=1e-3, backbone_rate_factor=0.1)
    rates = {
        id(p): g["lr"] for g in make_optimiser(model, config).param_groups for p in g["params"]
    }
    units = backbone_units(model)
    assert all(id(p) not in rates for unit in units[:3] for p in unit.parameters())
    assert {rates[id(p)] for unit in units[3:] for p in unit.parameters()} == {1e-4}
    assert {rates[id(p)] for p in model.head.parameters()} == {1e-3}
    module = LossModule(model, TINY.input_size_hw, freeze_batch_norm=True)
    norms = [m for m in model.backbone.stages.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not any(norm.training for norm in norms)
    assert all(m.training for m in module.model.head.modules())
