"""Settings of the processes: workers, leases and retries, log files, what is told outside."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from services.config.setting_groups.base import Group


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
        default=30.0,
        gt=0,
        description="A queued unit that nobody took for so long is sent again, if its queue is "
        "empty or units that came so much later were taken.",
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
    alive_file: Path | None = Field(
        default=None,
        description="File touched at each sign of life of a process, for the probe of a container "
        "engine: one that is minutes old is of a process that hangs; empty: none.",
    )
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
    """Logs of the processes."""

    to: Literal["files", "stderr"] = Field(
        default="files",
        description="`files` in the project, or `stderr` for who collects that, as the engine of "
        "containers does.",
    )
    max_file_bytes: int = Field(
        default=20 * 2**20, ge=4096, description="A larger log is set aside, in bytes."
    )
    keep_files: int = Field(default=4, ge=0, description="Older ones kept of each log.")
    keep_days: float = Field(
        default=30.0, gt=0, description="Logs last written longer ago are deleted."
    )


class TelemetrySettings(Group):
    """Metrics and traces."""

    token: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Bearer token that opens `/metrics` only; the one of the API does too.",
    )
    totals_interval_s: float = Field(
        default=60.0,
        ge=0,
        description="How long totals hold, such as images by role; what waits is read each time.",
    )
    traces_endpoint: str = Field(
        default="",
        pattern=r"^(https?://.+)?$",
        description="Where spans go by OTLP over HTTP, such as `http://collector:4318/v1/traces`; "
        "empty: where `OTEL_EXPORTER_OTLP_ENDPOINT` says, or nowhere. Needs `e2x[traces]`.",
    )


class MlflowSettings(Group):
    """A mirror of the registry in MLflow."""

    tracking_uri: str = Field(
        default="",
        description="Tracking server that is told of every model, such as `https://mlflow:5000`; "
        "empty: none. Name and password: `MLFLOW_TRACKING_USERNAME`, `MLFLOW_TRACKING_PASSWORD`. "
        "Needs `e2x[mlflow]`.",
    )
    experiment: str = Field(
        default="e2x", min_length=1, max_length=200, description="Experiment of the runs."
    )
    model_name: str = Field(
        default="e2x-detector",
        min_length=1,
        max_length=200,
        pattern=r"^[^/:]+$",
        description="Registered model whose alias `champion` is moved: one for each project.",
    )
    interval_s: float = Field(
        default=10.0, gt=0, description="How often it is looked whether there is something to tell."
    )
    timeout_s: float = Field(
        default=60.0, ge=1, description="How long the server may leave a request unanswered."
    )

    @model_validator(mode="after")
    def _refuse_what_is_no_server(self) -> Self:
        if not self.tracking_uri:
            return self
        parts = urlsplit(self.tracking_uri)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"tracking_uri: {parts.scheme or 'this'} is no http:// or https:// URL"
            )
        if parts.username or parts.password:
            raise ValueError(
                "tracking_uri: give name and password as MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, which no log shows"
            )
        return self
