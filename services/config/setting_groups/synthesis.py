"""Settings of drawn samples: who draws, how many, from what, and who looks at them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from services.config.setting_groups.base import Group


class SynthesisSettings(Group):
    """Samples that are drawn where the pool lacks them."""

    enabled: bool = Field(default=False, description="Draw samples in every cycle.")
    generator: str = Field(
        default="compose", description="Who draws: a name that `e2x synthesis plan` prints."
    )
    parameters: dict[str, Any] = Field(
        default={}, description="What else the generator takes, such as `blending`; JSON."
    )
    budget_images: int = Field(
        default=40, ge=0, description="Samples kept a cycle, at most; they cost no boxes."
    )
    budget_mode: int = Field(default=20, ge=1, description="Samples kept of a mode in a cycle.")
    max_share: float = Field(
        default=0.25,
        ge=0,
        le=0.5,
        description="Of the training images, drawn ones of all cycles at most.",
    )
    controls: float = Field(
        default=0.25,
        ge=0,
        le=0.5,
        description="Of the budget, known objects among what does no harm: "
        "a model must not learn how drawn pictures look.",
    )
    candidates: int = Field(
        default=3, ge=1, le=20, description="Drawn for each sample that is to be kept."
    )
    modes: Literal["all", "lacking"] = Field(
        default="all",
        description="Which modes get samples: `all` that are not fixed, or those that the pool "
        "is `lacking`, for which the cycle's selection found no image.",
    )
    least_failures: int = Field(
        default=1, ge=1, description="Failures of a mode in a cycle, below which it gets none."
    )
    failures_mode: int = Field(
        default=8, ge=1, description="Failures of a mode whose surroundings are tried."
    )
    harm_from: Literal["field", "pool", "pool_then_field"] = Field(
        default="field",
        description="Whose pixels are put around known objects: `field`, frames that teach; "
        "`pool`, unlabelled pool images that resemble what hurt, so that frames that judge may "
        "ask as well; `pool_then_field`, frames that teach where the pool has nothing.",
    )
    min_reproduced: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="A sample is of use where the known object is missed or loses this much score.",
    )
    review: Literal["auto", "person"] = Field(
        default="auto",
        description="Who keeps what passes the checks; `person`: `e2x synthesis accept`.",
    )
    ablation: Literal["always", "never"] = Field(
        default="always",
        description="Also train without new samples, and let the gate choose.",
    )
    wait_s: float = Field(
        default=3600.0,
        ge=0,
        description="A cycle whose labels are in goes on without samples that take longer.",
    )
