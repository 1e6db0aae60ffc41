"""Settings of drift: how field frames are held against what is known."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.config.setting_groups.base import Group


class DriftSettings(Group):
    """How unlike the reference a day of field frames is."""

    daily: bool = Field(
        default=False, description="Judge each day once it is over; `e2x drift` shows them."
    )
    reference: Literal["pool", "field"] = Field(
        default="pool",
        description="`pool`: images that nothing was learnt from, or the start set where there "
        "are none; `field`: frames of earlier days, where only what fails is reported.",
    )
    reference_images: int = Field(
        default=600, ge=20, le=5000, description="Images of the reference, at most."
    )
    day_images: int = Field(default=600, ge=20, le=5000, description="Frames of a day, at most.")
    frames_per_group: int = Field(
        default=10, ge=1, le=1000, description="Frames of a group, at most: a long drive is one."
    )
    min_frames: int = Field(default=30, ge=1, description="A day with fewer is not judged.")
    level: float = Field(
        default=0.0025, gt=0, le=0.1, description="Share of still days that may alarm, at most."
    )
