"""The groups of settings; each field says what it does, in its unit, with its bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from retrain.config import (
    ARCHITECTURES,
    FINE_TUNING,
    MAX_SCALE,
    DetectorConfig,
    GateRules,
    TrainConfig,
)

# The science has the defaults, so that a job without a project does the same as one of a project.
_DETECTOR = DetectorConfig(ARCHITECTURES[0], ("background", "object"))
_TRAINING = TrainConfig()
_GATE = GateRules()
MOST_PIXELS = 178_000_000
"""Pillow takes a larger picture for an attack, whatever our limit says."""
MOST_OBJECTS = 100_000
"""Objects of an image, whatever is set: they are checked and stored in one piece."""


class Group(BaseModel):
    """A table of ``e2x.toml``; an unknown key is an error, since it is most often a typing slip."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


class ApiSettings(Group):
    """The HTTP API."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8321, ge=0, le=65535, description="Port; 0 takes a free one.")
    token: SecretStr | None = Field(
        default=None,
        description="Bearer token of every request; empty: one is made in the project folder.",
    )
    max_request_bytes: int = Field(
        default=32 * 2**20, ge=1024, description="Largest frame or label file sent, in bytes."
    )
    max_json_bytes: int = Field(
        default=2**20, ge=1024, description="Largest other request body, in bytes."
    )
    max_connections: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="Open connections; over that the longest idle one is closed for a new one.",
    )
    max_connections_per_client: int = Field(
        default=256,
        ge=0,
        le=100_000,
        description="The same of one address; 0: no bound of its own, as behind a busy proxy.",
    )
    header_timeout_s: float = Field(
        default=10.0, gt=0, le=600, description="Until the head of a request must be complete."
    )
    stall_timeout_s: float = Field(
        default=20.0,
        gt=0,
        le=600,
        description="How often the rate of a body, or of an answer being read, is looked at.",
    )
    min_bytes_per_s: int = Field(
        default=500, ge=1, le=10**6, description="A body or reader slower than this is cut off."
    )
    keep_alive_s: int = Field(
        default=5, ge=1, le=3600, description="How long an idle connection stays open."
    )


class IngestSettings(Group):
    """Images coming in."""

    max_pixels: int = Field(
        default=50_000_000, ge=10_000, le=MOST_PIXELS, description="Largest image, in pixels."
    )
    min_side_px: int = Field(default=8, ge=1, description="Smallest image side, in pixels.")
    ignore_below_px: float = Field(
        default=0.0, ge=0, description="Truth boxes with a shorter side become ignore regions."
    )
    max_objects: int = Field(
        default=5000, ge=1, le=MOST_OBJECTS, description="Objects of one image at most."
    )
    max_reports: int = Field(
        default=200, ge=1, le=5000, description="Operators' reports on one frame at most, in all."
    )
    watch_folder: Path | None = Field(
        default=None, description="Folder whose new images are ingested as field frames."
    )
    watch_interval_s: float = Field(default=2.0, gt=0, description="How often it is looked at.")


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
    weights: str = Field(
        default=_TRAINING.weights,
        description="Backbone weights: `auto`, `torchvision`, `package`, `random`, or a file.",
    )
    device: str = Field(default="auto", description="`auto`, `cpu`, `cuda` or `cuda:1`.")

    @model_validator(mode="after")
    def _refuse_crossed_scales(self) -> Self:
        if self.min_scale >= self.max_scale:
            raise ValueError(f"min_scale {self.min_scale:g} must be below max_scale")
        return self


class TrainingSettings(Group):
    """Training and fine-tuning."""

    epochs: int = Field(default=_TRAINING.epochs, ge=1, description="Epochs of the first detector.")
    finetune_epochs: int = Field(
        default=FINE_TUNING.epochs, ge=1, description="Epochs of each retraining."
    )
    batch_size: int = Field(default=_TRAINING.batch_size, ge=1, description="Images a step.")
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


class FailureSettings(Group):
    """What counts as a failure."""

    score_threshold: float = Field(default=0.5, gt=0, lt=1, description="Working threshold.")
    iou_threshold: float = Field(default=0.5, gt=0, le=1, description="Overlap of a match.")
    candidate_floor: float = Field(
        default=0.01, gt=0, lt=1, description="Missed objects are searched down to this score."
    )


class ExplanationSettings(Group):
    """How failures are explained."""

    method: str = Field(
        default="gp_shap", description="How: a name that `e2x explain --list` prints."
    )
    parameters: dict[str, Any] = Field(
        default={}, description="What else the method takes, such as `levels` of `e2x`; JSON."
    )
    num_samples: int = Field(
        default=0,
        ge=0,
        description="Masked or dimmed images an explanation; 0: the method's own number.",
    )
    num_segments: int = Field(default=200, ge=4, description="Superpixels asked for.")
    segmentation: Literal["slic", "slic_half", "quickshift", "felzenszwalb", "grid"] = Field(
        default="slic", description="How superpixels are made; two of these choose their number."
    )
    kind: Literal["probability", "logit", "log_odds"] = Field(
        default="log_odds", description="Unit of the explained score."
    )
    batch_size: int = Field(
        default=0,
        ge=0,
        description="Perturbed images a forward pass; 0: up to 16 on a CPU, 64 on a GPU.",
    )
    mixed_precision: Literal["no", "fp16", "bf16"] = Field(
        default="no",
        description="Arithmetic of the passes, where its maps agree with those of full precision.",
    )
    max_regions: int = Field(default=4, ge=1, description="Harmful regions kept a failure.")
    max_failures_per_image: int = Field(
        default=8, ge=1, description="The gravest so many of an image are explained."
    )


class SelectionSettings(Group):
    """Which pool images are worth a label."""

    policy: str = Field(default="e2x", description="Name in the registry of policies.")
    budget_boxes: int = Field(default=100, ge=1, description="Boxes to label a cycle.")
    coverage_share: float = Field(
        default=0.0, ge=0, le=1, description="Share of the budget for unseen parts of the pool."
    )
    learn_from_field: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of a mode's failing frames that teach, by group; the others judge. "
        "At 0 no further ones teach.",
    )
    encoder: str = Field(default="tf_efficientnet_lite0", description="Backbone of the embedding.")
    encoder_weights: str = Field(default="package", description="`package`, `random` or a file.")
    encoder_height_px: int = Field(default=224, ge=64, description="Encoder input height.")
    encoder_width_px: int = Field(default=224, ge=64, description="Encoder input width.")
    batch_images: int = Field(default=32, ge=1, description="Pool images a unit of work.")
    seal_rows: int = Field(
        default=50_000, ge=1000, description="Rows of the exact shard before it is compressed."
    )


class ModeSettings(Group):
    """Failure modes over the cycles."""

    min_similarity: float = Field(
        default=0.4, ge=-1, le=1, description="A mode this much like a known one is that one."
    )
    max_failing: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="A mode is fixed when a new champion fails at most this share of its failures.",
    )
    reopen_at: int = Field(
        default=1, ge=1, description="So many new failures open a fixed mode again."
    )


class LabelSettings(Group):
    """The label queue."""

    lease_s: float = Field(default=1800.0, gt=0, description="How long a leased task is reserved.")
    wait_for_all: bool = Field(
        default=True, description="Retrain only when every task of the cycle is answered."
    )


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


class TriggerSettings(Group):
    """When a cycle or a retraining starts by itself."""

    new_failures: int = Field(
        default=0, ge=0, description="Start a cycle when so many new failures wait; 0: never."
    )
    cycle_cron: str = Field(default="", description="Cron expression for cycles, in UTC.")
    new_labels: int = Field(
        default=0, ge=0, description="Retrain when so many new labels wait; 0: never."
    )
    retrain_cron: str = Field(default="", description="Cron expression for retraining, in UTC.")
    interval_s: float = Field(default=10.0, gt=0, description="How often triggers are looked at.")

    @field_validator("cycle_cron", "retrain_cron")
    @classmethod
    def _refuse_what_never_fires(cls, expression: str) -> str:
        from croniter import croniter

        if expression and not croniter.is_valid(expression):
            raise ValueError(
                f"{expression!r} is no cron expression: give five fields such as `0 6 * * 1-5`, "
                "or leave it empty"
            )
        return expression


class WorkerSettings(Group):
    """Workers, leases and retries."""

    lease_s: float = Field(
        default=60.0, gt=0, description="Lease of a unit, renewed while it runs."
    )
    max_attempts: int = Field(default=3, ge=1, description="Tries before a unit is parked as dead.")
    max_lost: int = Field(
        default=10,
        ge=1,
        description="Workers that may vanish with a unit (killed, out of memory, power cut) before "
        "it is parked too; such tries are not counted by max_attempts.",
    )
    backoff_s: float = Field(
        default=2.0, ge=0, description="First wait after a failed try; doubles."
    )
    relay_interval_s: float = Field(default=0.2, gt=0, description="How often the outbox is read.")
    reconcile_interval_s: float = Field(
        default=5.0, gt=0, description="How often lost messages and leases are looked for."
    )
    resend_after_s: float = Field(
        default=30.0, gt=0, description="A queued unit that nobody took for so long is sent again."
    )
    keep_days: float = Field(
        default=30.0, gt=0, description="Units that have ended are deleted after so many days."
    )
    keep_units: int = Field(
        default=200_000,
        ge=0,
        description="So many units that have ended are kept; older ones are deleted before.",
    )
    visibility_timeout_s: int = Field(
        default=14_400, ge=60, description="Redis hands out an unacknowledged message after this."
    )
    soft_limit_s: int = Field(default=1800, ge=1, description="Soft time limit of a unit.")
    hard_limit_s: int = Field(default=2100, ge=1, description="Hard time limit of a unit.")
    threads: int = Field(
        default=0, ge=0, description="PyTorch threads a process; 0: cores divided by busy workers."
    )

    @model_validator(mode="after")
    def _refuse_crossed_limits(self) -> Self:
        if self.hard_limit_s <= self.soft_limit_s:
            raise ValueError(
                f"hard_limit_s {self.hard_limit_s} must be above soft_limit_s {self.soft_limit_s}: "
                "between them a unit ends by itself"
            )
        return self


class LogSettings(Group):
    """Log files of the processes."""

    max_file_bytes: int = Field(
        default=20 * 2**20, ge=4096, description="A larger log is set aside, in bytes."
    )
    keep_files: int = Field(default=4, ge=0, description="Older ones kept of each log.")
    keep_days: float = Field(
        default=30.0, gt=0, description="Logs last written longer ago are deleted."
    )
