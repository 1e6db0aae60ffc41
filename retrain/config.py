"""Settings of detector, training and gate: frozen, validated, stored as JSON with every run.

The defaults here are the only ones: the settings of a project take theirs from here, so that
``python -m retrain`` and ``e2x train`` train the same detector.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from curation.kernel.class_names import wrong_class_name
from retrain.errors import ConfigInvalid

ARCHITECTURES = ("ssdlite_efficientnet_lite0", "ssdlite320_mobilenet_v3_large", "ssd300_vgg16")
MIXED_PRECISION = ("no", "bf16", "fp16")
AUGMENTATIONS = ("none", "flip", "ssd")
MAX_SCALE = 1.05
"""Of a default box, as a share of the image side; the last one of Liu et al., 2016."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigInvalid(message)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(entry) for entry in value) if isinstance(value, (list, tuple)) else value


class JsonConfig:
    """JSON in and out for the frozen dataclasses below."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, keys in the order of the fields."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return, call-overload]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], base: Self | None = None) -> Self:
        """The configuration that ``values`` describes.

        Args:
            values: by the names of the fields.
            base: what missing keys are taken from; None: the defaults.

        Raises:
            ConfigInvalid: a key is unknown, a required key is missing or a value is refused.
        """
        known = {entry.name for entry in fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(values) - known)
        _require(not unknown, f"{cls.__name__}: unknown settings {unknown}, known: {sorted(known)}")
        given = {key: _tuples(value) for key, value in values.items()}
        try:
            return cls(**given) if base is None else replace(base, **given)  # type: ignore[type-var]
        except TypeError as error:
            raise ConfigInvalid(f"{cls.__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class DetectorConfig(JsonConfig):
    """What network to build.

    Attributes:
        architecture: one of ``ARCHITECTURES``.
        class_names: K names, background first.
        input_size_hw: (h, w) px of the network input, each at least 64.
        min_scale: side of the smallest default box, as a share of the image side, in (0, 1).
            An object needs a default box that overlaps it by half: small objects need small ones.
        max_scale: the same for the last level; levels between are spaced geometrically.
        scales: one a level plus one, rising; empty derives them from ``min_scale``/``max_scale``.
        aspect_ratios: tuples of ratios > 1, one a level; empty means (2, 3) on every level. They
            are relative to the image's own ratio, since scales are shares of each side.
        steps_px: px of the network input between default boxes, one a level; empty divides the
            input by the cells of each level. Networks from elsewhere may have been trained with
            others.
        reduced_tail: half as many channels in the last blocks of MobileNetV3, as torchvision has
            them where the network did not start from a classifier's weights, those for COCO among
            them.
        nms_iou: in (0, 1]; of one class, boxes that overlap more are merged into the best.
        max_detections: kept for an image after non-maximum suppression.
        max_candidates: kept for a class before it.
    """

    architecture: str
    class_names: tuple[str, ...]
    input_size_hw: tuple[int, int] = (320, 320)
    min_scale: float = 0.08
    max_scale: float = 0.9
    scales: tuple[float, ...] = ()
    aspect_ratios: tuple[tuple[float, ...], ...] = ()
    nms_iou: float = 0.45
    max_detections: int = 200
    max_candidates: int = 400
    steps_px: tuple[int, ...] = ()
    reduced_tail: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; what only networks from elsewhere have is left out of the others.

        A version is named by it: those named before there were such networks stay what they are.
        """
        values = super(DetectorConfig, self).to_dict()
        return {
            name: value
            for name, value in values.items()
            if value or name not in ("steps_px", "reduced_tail")
        }

    def __post_init__(self) -> None:
        _require(
            self.architecture in ARCHITECTURES,
            f"architecture {self.architecture!r} is unknown, choose from {ARCHITECTURES}",
        )
        names = self.class_names
        _require(len(names) >= 2, f"class_names {names}: background and at least one class")
        wrong = next(filter(None, map(wrong_class_name, names[1:])), None)
        _require(wrong is None, f"class_names: {wrong}")
        _require(len(set(names)) == len(names), f"class_names {names}: a name appears twice")
        _require(
            len(self.input_size_hw) == 2 and min(self.input_size_hw) >= 64,
            f"input_size_hw {self.input_size_hw}: two sides of at least 64 px",
        )
        _require(
            0 < self.min_scale < self.max_scale <= MAX_SCALE,
            f"0 < min_scale {self.min_scale} < max_scale {self.max_scale} <= {MAX_SCALE} does not "
            "hold",
        )
        rising = all(a < b for a, b in zip(self.scales, self.scales[1:], strict=False))
        _require(
            rising and all(0 < scale <= 1.1 for scale in self.scales),
            f"scales {self.scales}: rising, in (0, 1.1]",
        )
        _require(
            all(ratio > 1 for level in self.aspect_ratios for ratio in level),
            f"aspect_ratios {self.aspect_ratios}: above 1; each also gives its reciprocal",
        )
        _require(
            not self.reduced_tail or self.architecture == "ssdlite320_mobilenet_v3_large",
            f"{self.architecture} has no reduced tail",
        )
        _require(all(step > 0 for step in self.steps_px), f"steps_px {self.steps_px}: above 0")
        _require(0 < self.nms_iou <= 1, f"nms_iou {self.nms_iou}: in (0, 1]")
        _require(
            self.max_detections > 0 and self.max_candidates > 0,
            "max_detections and max_candidates: at least 1",
        )


@dataclass(frozen=True, slots=True)
class TrainConfig(JsonConfig):
    """How to train.

    Attributes:
        epochs: passes over the (oversampled) items; 0 trains by steps until a validation share
            gains no more (``plan.py``).
        patience: by steps: looks, each of 50 steps, without a gain of AP50 on the validation share
            that end it; at least a quarter of all steps so far.
        validation_share: by steps: in (0, 0.25]; of the images, drawn by group. It is held back
            until it has decided.
        max_steps: by steps: at most; 0 is 2000, or 20 epochs where these are more.
        batch_size: images a step, over all processes that train together.
        learning_rate: peak of AdamW, for the layers that are new.
        backbone_rate_factor: in (0, 1]; times ``learning_rate`` for the pretrained layers.
        weight_decay: of weights; biases and normalisation have none.
        warmup_share: in [0, 1); share of all steps in which the rate rises from zero; then it
            falls as half a cosine.
        clip_norm: greatest norm of the gradient; 0 switches clipping off.
        seed: of initialisation, order and augmentation; equal seeds give equal weights.
        mixed_precision: "no", "bf16" or "fp16"; on a CPU that multiplies bf16 (AVX512-BF16, AMX) it
            halves the time of VGG16 and gains nothing for the light networks.
        ema_decay: in [0, 1); 0 switches the average of weights off. 0.98 looks back 50 steps: a few
            epochs of the small sets that a cycle trains on.
        augment: "none", "flip" or "ssd" (photometric, zoom out, crop by overlap, flip).
        augment_share: in [0, 1]; share of images that are zoomed or cropped under "ssd".
        freeze_stages: leading stages of the backbone that are not trained, 0 trains all. Edges and
            textures of ImageNet need no training; a step costs a third less without the first 3.
        freeze_batch_norm: keep the backbone's statistics; right for pretrained weights.
        num_threads: of PyTorch on a CPU, over the training processes of a host; 0 leaves them as
            they are.
        num_workers: processes that prepare batches; 0 prepares them in the training process.
        cache_bytes: decoded and resized images held in memory, at most, by those of a host.
        boost: at least 1; how often an item that a failure asked for is shown an epoch.
        weights: "auto", "package", "torchvision", "random" or a file (see ``weights.py``).
    """

    epochs: int = 0
    batch_size: int = 16
    learning_rate: float = 1e-3
    backbone_rate_factor: float = 0.3
    weight_decay: float = 1e-4
    warmup_share: float = 0.08
    clip_norm: float = 10.0
    seed: int = 0
    mixed_precision: str = "no"
    ema_decay: float = 0.98
    augment: str = "ssd"
    augment_share: float = 0.5
    freeze_stages: int = 3
    freeze_batch_norm: bool = True
    num_threads: int = 0
    num_workers: int = 0
    cache_bytes: int = 2 * 1024**3
    boost: float = 1.0
    weights: str = "auto"
    patience: int = 6
    validation_share: float = 0.15
    max_steps: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; by epochs without what only a training by steps reads.

        A resume file is named by it: one of before there was another way is gone on from.
        """
        values = super(TrainConfig, self).to_dict()
        by_steps = ("patience", "validation_share", "max_steps")
        return {k: value for k, value in values.items() if not (self.epochs and k in by_steps)}

    def of_the_result(self) -> dict[str, Any]:
        """:meth:`to_dict` without what only says how a machine gets there.

        A run may be gone on with by another host, or by this one while it has less to spare.
        """
        of_a_machine = ("num_threads", "num_workers", "cache_bytes")
        return {k: value for k, value in self.to_dict().items() if k not in of_a_machine}

    def __post_init__(self) -> None:
        for name in ("batch_size", "patience"):
            _require(getattr(self, name) >= 1, f"{name} {getattr(self, name)}: at least 1")
        _require(
            0 < self.validation_share <= 0.25,
            f"validation_share {self.validation_share}: in (0, 0.25]",
        )
        for name in (
            *("epochs", "seed", "freeze_stages", "num_threads", "num_workers", "max_steps"),
            *("cache_bytes", "clip_norm", "weight_decay"),
        ):
            _require(getattr(self, name) >= 0, f"{name} {getattr(self, name)}: not negative")
        _require(0 < self.learning_rate < 1, f"learning_rate {self.learning_rate}: in (0, 1)")
        _require(
            0 < self.backbone_rate_factor <= 1,
            f"backbone_rate_factor {self.backbone_rate_factor}: in (0, 1]; freeze_stages freezes",
        )
        _require(0 <= self.warmup_share < 1, f"warmup_share {self.warmup_share}: in [0, 1)")
        _require(0 <= self.ema_decay < 1, f"ema_decay {self.ema_decay}: in [0, 1)")
        _require(0 <= self.augment_share <= 1, f"augment_share {self.augment_share}: in [0, 1]")
        _require(self.boost >= 1, f"boost {self.boost}: at least 1")
        _require(
            self.mixed_precision in MIXED_PRECISION,
            f"mixed_precision {self.mixed_precision!r}: one of {MIXED_PRECISION}",
        )
        _require(self.augment in AUGMENTATIONS, f"augment {self.augment!r}: one of {AUGMENTATIONS}")
        _require(
            not (self.weights == "random" and self.freeze_stages),
            "weights 'random' with freeze_stages > 0 would freeze noise: set freeze_stages to 0",
        )
        _require(
            not (self.weights == "random" and self.freeze_batch_norm),
            "weights 'random' with freeze_batch_norm would keep statistics of nothing",
        )


FINE_TUNING = TrainConfig(epochs=8, learning_rate=3e-4, boost=2.0)
"""How a network is trained on that knows its classes already, such as a champion."""


@dataclass(frozen=True, slots=True)
class GateRules(JsonConfig):
    """Bounds within which a challenger may replace the champion. Shares and AP are in 0..1.

    Attributes:
        max_map_drop: of mAP on the holdout; 0.003 is 0.3 points.
        max_class_drop: of a class's AP50 on the holdout.
        min_class_objects: classes with fewer holdout objects are shown but not judged.
        max_negative_flips: share of the objects that the champion found and the challenger misses.
        noise_floor: negative flips of a retrain on the same data, added to the bound.
        max_sibling_drop: of the share of siblings found.
        max_reopened: share of the failures fixed so far that open again.
        min_mode_gain: the rise of the found share that at least one targeted mode must exceed.
    """

    max_map_drop: float = 0.003
    max_class_drop: float = 0.02
    min_class_objects: int = 10
    max_negative_flips: float = 0.02
    noise_floor: float = 0.0
    max_sibling_drop: float = 0.0
    max_reopened: float = 0.05
    min_mode_gain: float = 0.01

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            upper = float("inf") if entry.name == "min_class_objects" else 1.0
            _require(0 <= value <= upper, f"{entry.name} {value}: in 0..{upper}")
