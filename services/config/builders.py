"""Settings into the dataclasses of the science, and models into memory.

The only place where the names of settings meet the names of parameters. What loads a network is
imported on use: the API and the command line need the small things here and no PyTorch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.failures.default_boxes import FailureRules
from curation.kernel.images import ImageLimits
from retrain.config import FINE_TUNING, DetectorConfig, GateRules, TrainConfig
from services.config.settings import Settings
from services.errors import InvalidRequest

if TYPE_CHECKING:
    from curation.embedding.embed import RegionEmbedder
    from curation.embedding.encoder import TimmEncoder
    from curation.explain import Explainer
    from curation.regions import RegionRules
    from curation.synthesis import Generator
    from retrain.detector import SsdDetector


TRAINED = "trained"
"""Among the parameters of who draws: which network of the project, by number; else the newest."""


def device_name(settings: Settings) -> str:
    """``cuda`` where there is one and none is named."""
    import torch

    if settings.detector.device != "auto":
        return settings.detector.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def image_limits(settings: Settings) -> ImageLimits:
    """Which images are refused."""
    return ImageLimits(
        max_pixels=settings.ingest.max_pixels, min_side_px=settings.ingest.min_side_px
    )


def detector_config(settings: Settings, class_names: tuple[str, ...]) -> DetectorConfig:
    """What network to build."""
    wanted = settings.detector
    return DetectorConfig(
        architecture=wanted.architecture,
        class_names=class_names,
        input_size_hw=(wanted.input_height_px, wanted.input_width_px),
        min_scale=wanted.min_scale,
        max_scale=wanted.max_scale,
        scales=wanted.scales,
        aspect_ratios=wanted.aspect_ratios,
    )


def train_config(settings: Settings, *, fine_tune: bool, seed: int, threads: int) -> TrainConfig:
    """How to train: from pretrained features, or on from the champion."""
    wanted = settings.training
    random = settings.detector.weights == "random"
    defaults = FINE_TUNING if fine_tune else TrainConfig()
    return replace(
        defaults,
        epochs=wanted.finetune_epochs if fine_tune else wanted.epochs,
        batch_size=wanted.batch_size,
        learning_rate=wanted.finetune_learning_rate if fine_tune else wanted.learning_rate,
        seed=seed,
        mixed_precision=wanted.mixed_precision,
        ema_decay=defaults.ema_decay if wanted.ema else 0.0,
        boost=wanted.boost_new if fine_tune else defaults.boost,
        weights=settings.detector.weights,
        num_threads=threads,
        patience=wanted.patience,
        validation_share=wanted.validation_share,
        max_steps=wanted.max_steps,
        # Noise must neither be frozen nor normalised by statistics of nothing.
        freeze_stages=0 if random else defaults.freeze_stages,
        freeze_batch_norm=not random,
    )


def gate_rules(settings: Settings) -> GateRules:
    """Bounds of a promotion."""
    wanted = settings.gate
    return GateRules(
        max_map_drop=wanted.max_map_drop,
        max_class_drop=wanted.max_class_drop,
        max_negative_flips=wanted.max_negative_flips,
        max_sibling_drop=wanted.max_sibling_drop,
        max_reopened=wanted.max_reopened,
        min_mode_gain=wanted.min_mode_gain,
    )


def failure_rules(settings: Settings) -> FailureRules:
    """What counts as a failure."""
    wanted = settings.failures
    return FailureRules(
        score_threshold=wanted.score_threshold,
        iou_threshold=wanted.iou_threshold,
        fn_floor=wanted.candidate_floor,
    )


def region_rules(settings: Settings) -> RegionRules:
    """Which superpixels become regions."""
    from curation.regions import RegionRules

    return RegionRules(max_regions=settings.explanation.max_regions)


def explainer(settings: Settings) -> Explainer:
    """The explanation method that is set, with those of the settings that it takes.

    Raises:
        InvalidRequest: no method has this name, or it takes no such parameter or value.
    """
    from services.config import explainers

    return explainers.configured(settings.explanation)


def generator(settings: Settings, **more: Any) -> Generator:
    """Who draws samples, with those of the settings that it takes.

    Args:
        settings: see ``synthesis``.
        more: parameters that the settings do not know of, such as an encoder.

    Raises:
        InvalidRequest: no generator has this name, or it takes no such parameter or value.
    """
    from curation import synthesis

    wanted = settings.synthesis
    try:
        # Seams that vary are composition's; a network draws over the one that it starts from.
        usual = {"blending": "varied"} if wanted.generator == "compose" else {}
        own = {key: value for key, value in wanted.parameters.items() if key != TRAINED}
        return synthesis.get(wanted.generator, **(usual | own | more))
    except (TypeError, ValueError) as slip:
        raise InvalidRequest(f"synthesis: {slip}") from slip


def region_embedder(settings: Settings, encoder: TimmEncoder) -> RegionEmbedder:
    """Pool images and failures in one space."""
    from curation.embedding.embed import RegionEmbedder

    wanted = settings.selection
    return RegionEmbedder(encoder, mask_size_hw=(wanted.encoder_height_px, wanted.encoder_width_px))


def load_detector(folder: Path, settings: Settings) -> SsdDetector:
    """A registered detector, on its device."""
    from retrain.detector import SsdDetector
    from retrain.memory import keep_freed_memory

    keep_freed_memory()  # gradients of inputs come and go: halves their time on a CPU

    return SsdDetector.load(folder, device_name(settings))


def load_encoder(settings: Settings) -> TimmEncoder:
    """The encoder of regions, on its device."""
    from curation.embedding.encoder import TimmEncoder

    wanted = settings.selection
    return TimmEncoder(
        name=wanted.encoder,
        input_size_hw=(wanted.encoder_height_px, wanted.encoder_width_px),
        weights=wanted.encoder_weights,
        device=device_name(settings),
    )
