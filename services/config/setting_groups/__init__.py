"""The groups of settings; each field says what it does, in its unit, with its bounds."""

from __future__ import annotations

from services.config.setting_groups.accounts import AccountSettings
from services.config.setting_groups.base import Group
from services.config.setting_groups.doors import (
    MOST_OBJECTS,
    MOST_PIXELS,
    ApiSettings,
    IngestSettings,
    LabelSettings,
)
from services.config.setting_groups.drift import DriftSettings
from services.config.setting_groups.loop import (
    ExplanationSettings,
    FailureSettings,
    ModeSettings,
    SelectionSettings,
    TriggerSettings,
)
from services.config.setting_groups.models import DetectorSettings, GateSettings, TrainingSettings
from services.config.setting_groups.running import (
    LogSettings,
    MlflowSettings,
    TelemetrySettings,
    WorkerSettings,
)
from services.config.setting_groups.storage import IndexSettings, StorageSettings
from services.config.setting_groups.synthesis import SynthesisSettings

__all__ = [
    "MOST_OBJECTS",
    "MOST_PIXELS",
    "AccountSettings",
    "ApiSettings",
    "DetectorSettings",
    "DriftSettings",
    "ExplanationSettings",
    "FailureSettings",
    "GateSettings",
    "Group",
    "IndexSettings",
    "IngestSettings",
    "LabelSettings",
    "LogSettings",
    "MlflowSettings",
    "ModeSettings",
    "SelectionSettings",
    "StorageSettings",
    "SynthesisSettings",
    "TelemetrySettings",
    "TrainingSettings",
    "TriggerSettings",
    "WorkerSettings",
]
