"""All settings, from ``e2x.toml`` in the project folder and from ``E2X_…`` variables.

A variable wins over the file: ``E2X_LABELS__LEASE_S=600`` sets ``[labels] lease_s``. Settings are
built on first use, never at import. ``e2x config`` prints this table with its current values.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from services.config import brokers
from services.config.setting_groups import (
    AccountSettings,
    ApiSettings,
    DetectorSettings,
    DriftSettings,
    ExplanationSettings,
    FailureSettings,
    GateSettings,
    IndexSettings,
    IngestSettings,
    LabelSettings,
    LogSettings,
    MlflowSettings,
    ModeSettings,
    SelectionSettings,
    StorageSettings,
    SynthesisSettings,
    TelemetrySettings,
    TrainingSettings,
    TriggerSettings,
    WorkerSettings,
)

PROJECT_FILE = "e2x.toml"


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="E2X_", env_nested_delimiter="__", extra="forbid", validate_default=True
    )

    project: Path = Field(default=Path(), description="The project folder, made by `e2x init`.")
    environment: Literal["local", "production"] = Field(
        default="local",
        description="`production` refuses the project's shared token and the embedded parts.",
    )
    database_url: str = Field(
        default="",
        description="SQLAlchemy URL; empty: SQLite (WAL) in the project. "
        "PostgreSQL: `postgresql+pg8000://user:password@host/name`, with TLS "
        "`?sslmode=verify-full&sslrootcert=FILE`.",
    )
    broker_url: str = Field(
        default="",
        description="Redis or Valkey URL, or those of Sentinels with `?master_name=…`; empty: an "
        "embedded server in the project. `rediss://` checks certificates.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of every random choice.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least level that is logged."
    )
    storage: StorageSettings = Field(default_factory=StorageSettings)
    index: IndexSettings = Field(default_factory=IndexSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    accounts: AccountSettings = Field(default_factory=AccountSettings)
    ingest: IngestSettings = Field(default_factory=IngestSettings)
    detector: DetectorSettings = Field(default_factory=DetectorSettings)
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    failures: FailureSettings = Field(default_factory=FailureSettings)
    explanation: ExplanationSettings = Field(default_factory=ExplanationSettings)
    selection: SelectionSettings = Field(default_factory=SelectionSettings)
    modes: ModeSettings = Field(default_factory=ModeSettings)
    synthesis: SynthesisSettings = Field(default_factory=SynthesisSettings)
    labels: LabelSettings = Field(default_factory=LabelSettings)
    gate: GateSettings = Field(default_factory=GateSettings)
    drift: DriftSettings = Field(default_factory=DriftSettings)
    triggers: TriggerSettings = Field(default_factory=TriggerSettings)
    workers: WorkerSettings = Field(default_factory=WorkerSettings)
    logs: LogSettings = Field(default_factory=LogSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
    mlflow: MlflowSettings = Field(default_factory=MlflowSettings)

    @model_validator(mode="after")
    def _refuse_unsafe_production(self) -> Settings:
        if self.environment == "production" and not (self.database_url and self.broker_url):
            raise ValueError("production needs E2X_DATABASE_URL and E2X_BROKER_URL")
        if self.environment == "production" and (unsafe := self.storage.unsafe()):
            raise ValueError(f"production refuses its store: {unsafe}")
        if slip := brokers.wrong(self.broker_url):
            raise ValueError(f"broker_url: {slip}")
        if self.environment == "production" and (unsafe := brokers.unsafe(self.broker_url)):
            raise ValueError(f"production refuses its broker: {unsafe}")
        if self.environment == "production" and "sslmode=require" in self.database_url:
            raise ValueError(
                "production refuses its database: sslmode=require takes any certificate, use "
                "sslmode=verify-full"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then variables, then the project's file."""
        project = Path(os.environ.get("E2X_PROJECT", "."))
        given = init_settings().get("project")
        if given is not None:
            project = Path(str(given))
        toml = TomlConfigSettingsSource(settings_cls, project / PROJECT_FILE)
        return init_settings, env_settings, toml

    def resolved_project(self) -> Path:
        """The project folder, absolute."""
        return self.project.expanduser().resolve()

    def oidc_secret(self) -> str:
        """The secret of this client at the OpenID Connect provider, empty where none is set."""
        return _clear(self.accounts.oidc_client_secret) or ""

    def api_token(self) -> str | None:
        """The API token in clear, None where none is set."""
        return _clear(self.api.token)

    def scrape_token(self) -> str | None:
        """The token of ``/metrics`` in clear, None where none is set."""
        return _clear(self.telemetry.token)


def _clear(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
