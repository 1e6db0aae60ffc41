"""What a model folder says of itself, read without PyTorch.

A process that only watches a training must not pay for it.
"""

from __future__ import annotations

import json
from pathlib import Path

from retrain.config import DetectorConfig
from retrain.errors import CheckpointCorrupt, ConfigInvalid

CONFIG_FILE = "config.json"


def config_of(folder: Path) -> DetectorConfig:
    """What network a model folder holds.

    Raises:
        CheckpointCorrupt: its configuration is missing or damaged.
    """
    return described(folder)[0]


def described(folder: Path) -> tuple[DetectorConfig, str]:
    """Configuration and version as the folder states them.

    Raises:
        CheckpointCorrupt: they are missing or damaged.
    """
    try:
        description = json.loads((folder / CONFIG_FILE).read_text())
        config = DetectorConfig.from_dict(description["detector"])
        return config, str(description["version"])
    except FileNotFoundError as error:
        raise CheckpointCorrupt(
            f"{folder}: no {CONFIG_FILE}, so this is no model folder"
        ) from error
    except (ValueError, KeyError, TypeError, ConfigInvalid) as error:
        raise CheckpointCorrupt(f"{folder / CONFIG_FILE}: unreadable ({error})") from error
