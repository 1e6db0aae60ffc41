"""A model on disk: a folder with ``model.safetensors`` and ``config.json``, never a pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torchvision.models.detection.ssd import SSD

from curation.kernel.files import write_atomically, write_json
from retrain.config import DetectorConfig
from retrain.description import CONFIG_FILE, described
from retrain.errors import CheckpointCorrupt
from retrain.fitting import load_state
from retrain.tensor_files import read_safetensors, require_finite
from retrain.weights import WeightsRecord

WEIGHTS_FILE = "model.safetensors"


def version_of(tensors: Mapping[str, torch.Tensor], config: DetectorConfig) -> str:
    """SHA-256 over configuration, names, types, shapes and bytes of the weights."""
    digest = hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    config: DetectorConfig,
    record: WeightsRecord | None,
) -> Path:
    """Write a model folder; the configuration, which names the version, comes last.

    Returns:
        The folder.

    Raises:
        CheckpointCorrupt: a weight or statistic is not finite; nothing is written.
    """
    require_finite(dict(tensors), str(folder))
    contiguous = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomically(folder / WEIGHTS_FILE, lambda file: save_file(contiguous, file))
    description = {
        "format": 1,
        "version": version_of(tensors, config),
        "detector": config.to_dict(),
        "weights": asdict(record) if record else None,
    }
    write_json(folder / CONFIG_FILE, description)
    return folder


def load(folder: Path) -> tuple[DetectorConfig, dict[str, torch.Tensor]]:
    """Configuration and weights of a model folder.

    Raises:
        CheckpointCorrupt: a file is missing or damaged, or the weights are not those that the
            configuration names, or not finite.
    """
    config, version = described(folder)
    tensors = read_safetensors(folder / WEIGHTS_FILE)
    if version_of(tensors, config) != version:
        raise CheckpointCorrupt(f"{folder}: weights are not those of version {version[:12]}")
    require_finite(tensors, str(folder))
    return config, tensors


def fill(model: SSD, tensors: dict[str, torch.Tensor], where: str) -> None:
    """Copy tensors of a whole SSD into ``model``.

    Raises:
        CheckpointCorrupt: they do not fit.
    """
    load_state(model, tensors, where)
