"""Settings of the loop: failures, why they happen, what to label, modes, when a cycle starts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from services.config.setting_groups.base import Group


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
    min_recall: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Failures of a champion that finds a smaller share of the holdout wait "
        "unexplained, since why it misses nearly everything says little; `--anyway` explains them.",
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
    drift: bool = Field(
        default=False,
        description="Start a cycle when a day of field frames has drifted (`drift.daily`).",
    )
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
