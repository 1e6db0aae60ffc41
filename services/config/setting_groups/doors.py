"""Settings of the doors: the HTTP API, images coming in, label tasks."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from services.config.setting_groups.base import Group

MOST_PIXELS = 178_000_000
"""Pillow takes a larger picture for an attack, whatever our limit says."""
MOST_OBJECTS = 100_000
"""Objects of an image, whatever is set: they are checked and stored in one piece."""


class ApiSettings(Group):
    """The HTTP API."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8321, ge=0, le=65535, description="Port; 0 takes a free one.")
    token: SecretStr | None = Field(
        default=None,
        description="The project's token, an admin's, taken unless `environment` is `production`; "
        "empty: one is made in the project folder.",
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


class LabelSettings(Group):
    """The label queue."""

    lease_s: float = Field(default=1800.0, gt=0, description="How long a leased task is reserved.")
    wait_for_all: bool = Field(
        default=True, description="Retrain only when every task of the cycle is answered."
    )
    sync_interval_s: float = Field(
        default=30.0, gt=0, description="How often a connected labelling tool is asked for news."
    )
    tool_lease_s: float = Field(
        default=86_400.0,
        gt=0,
        le=172_800.0,
        description="How long a connected tool keeps tasks while it cannot be reached, in seconds.",
    )
    picture_days: float = Field(
        default=30.0,
        gt=0,
        description="How long the address of a picture is good that a labelling tool is given; "
        "it is renewed while the task waits.",
    )
    second_look: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the tasks that a second person answers too, without seeing the first "
        "answer; what they differ in, a curator settles.",
    )
    second_look_iou: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="IoU from which two people's boxes of one class are the same.",
    )
