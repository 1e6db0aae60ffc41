"""Settings of models: which network, how it is trained, what it must hold to be promoted."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, model_validator

from retrain.config import (
    ARCHITECTURES,
    FINE_TUNING,
    MAX_SCALE,
    DetectorConfig,
    GateRules,
    TrainConfig,
)
from retrain.errors import ConfigInvalid
from services.config.setting_groups.base import Group

# The science has the defaults, so that a job without a project does the same as one of a project.
_DETECTOR = DetectorConfig(ARCHITECTURES[0], ("background", "object"))
_TRAINING = TrainConfig()
_GATE = GateRules()


class DetectorSettings(Group):
    """The detector that is trained."""

    architecture: Literal[
        "ssd300_vgg16", "ssdlite320_mobilenet_v3_large", "ssdlite_efficientnet_lite0"
    ] = Field(
        default=_DETECTOR.architecture,  # type: ignore[arg-type]  # text there, checked here
        description="Which SSD is trained first; retraining keeps the champion's, with its input "
        "and default boxes.",
    )
    input_height_px: int = Field(
        default=_DETECTOR.input_size_hw[0], ge=64, description="Network input height."
    )
    input_width_px: int = Field(
        default=_DETECTOR.input_size_hw[1], ge=64, description="Network input width."
    )
    min_scale: float = Field(
        default=_DETECTOR.min_scale,
        gt=0,
        lt=1,
        description="Smallest default box, as a share of the input side.",
    )
    max_scale: float = Field(
        default=_DETECTOR.max_scale, gt=0, le=MAX_SCALE, description="Largest default box."
    )
    scales: tuple[float, ...] = Field(
        default=_DETECTOR.scales,
        description="Default boxes by level, one more than levels, in the place of both scales; "
        "`e2x train --suggest` proposes some.",
    )
    aspect_ratios: tuple[tuple[float, ...], ...] = Field(
        default=_DETECTOR.aspect_ratios,
        description="Of the default boxes, above 1, by level; without: 2 and 3 on each.",
    )
    weights: str = Field(
        default=_TRAINING.weights,
        description="Backbone weights: `auto`, `torchvision`, `package`, `random`, or a file.",
    )
    device: str = Field(default="auto", description="`auto`, `cpu`, `cuda` or `cuda:1`.")

    @model_validator(mode="after")
    def _refuse_crossed_scales(self) -> Self:
        if self.min_scale >= self.max_scale:
            raise ValueError(f"min_scale {self.min_scale:g} must be below max_scale")
        try:
            replace(_DETECTOR, scales=self.scales, aspect_ratios=self.aspect_ratios)
        except ConfigInvalid as error:
            raise ValueError(str(error)) from error
        return self


class TrainingSettings(Group):
    """Training and fine-tuning."""

    epochs: int = Field(
        default=_TRAINING.epochs,
        ge=0,
        description="Epochs of the first detector; 0: steps, until a validation share of its "
        "images gains no more, so that a small set gets as many as it needs.",
    )
    finetune_epochs: int = Field(
        default=FINE_TUNING.epochs,
        ge=0,
        description="Epochs of each retraining; 0: steps, as for the first.",
    )
    patience: int = Field(
        default=_TRAINING.patience,
        ge=1,
        description="By steps: looks, one in 50 steps, without a gain of AP50 that end it.",
    )
    validation_share: float = Field(
        default=_TRAINING.validation_share,
        gt=0,
        le=0.25,
        description="By steps: share of the images that is held back until it has decided, in "
        "whole groups; never of the holdout.",
    )
    max_steps: int = Field(
        default=_TRAINING.max_steps,
        ge=0,
        description="By steps: at most; 0: 2000, or 20 epochs where these are more.",
    )
    batch_size: int = Field(
        default=_TRAINING.batch_size, ge=1, description="Images a step, over all processes."
    )
    processes: int = Field(
        default=1,
        ge=0,
        le=64,
        description="Processes of this host that train together, each on a GPU of its own, or on "
        "the CPU where there is none; 0: one a GPU.",
    )
    machines: int = Field(
        default=1, ge=1, le=64, description="Hosts that train together, with as many each."
    )
    main_address: str = Field(
        default="",
        description="HOST:PORT of the host whose worker trains, where there are several: on it "
        "their processes find each other.",
    )
    learning_rate: float = Field(
        default=_TRAINING.learning_rate, gt=0, description="Peak, first detector."
    )
    finetune_learning_rate: float = Field(
        default=FINE_TUNING.learning_rate, gt=0, description="Peak, retraining."
    )
    mixed_precision: Literal["no", "fp16", "bf16"] = Field(
        default=_TRAINING.mixed_precision,  # type: ignore[arg-type]  # text there, checked here
        description="Arithmetic of the forward pass.",
    )
    ema: bool = Field(
        default=_TRAINING.ema_decay > 0,
        description="Keep an exponential moving average of weights.",
    )
    boost_new: float = Field(
        default=FINE_TUNING.boost,
        ge=1,
        description="How much more often a label that a failure asked for is seen.",
    )
    stall_s: float = Field(
        default=600.0, gt=0, description="A training process silent for so long is restarted."
    )

    @model_validator(mode="after")
    def _refuse_hosts_without_address(self) -> Self:
        if self.machines > 1 and not self.main_address:
            raise ValueError("machines above 1 needs main_address, HOST:PORT of the first")
        return self


class GateSettings(Group):
    """Bounds that a challenger must hold to be promoted."""

    max_map_drop: float = Field(
        default=_GATE.max_map_drop, ge=0, description="Holdout mAP (IoU 0.50 to 0.95), absolute."
    )
    max_class_drop: float = Field(
        default=_GATE.max_class_drop, ge=0, description="AP50 of any class, absolute."
    )
    max_negative_flips: float = Field(
        default=_GATE.max_negative_flips,
        ge=0,
        description="Share of holdout objects found before and missed now.",
    )
    max_reopened: float = Field(
        default=_GATE.max_reopened, ge=0, description="Share of fixed failures that open again."
    )
    max_sibling_drop: float = Field(
        default=_GATE.max_sibling_drop, ge=0, description="Sibling recall, absolute."
    )
    min_mode_gain: float = Field(
        default=_GATE.min_mode_gain,
        ge=0,
        description="A targeted mode must improve by this share at least.",
    )
    auto_promote: bool = Field(default=True, description="Promote without asking a person.")
