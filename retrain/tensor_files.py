"""Files of named tensors, whoever wrote them, without the code that a pickle may carry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from retrain.errors import CheckpointCorrupt

_CHECKPOINT_KEYS = ("model", "state_dict", "model_state_dict")


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file or of a state dict without pickled code.

    A training checkpoint may hold it as ``model`` or ``state_dict``, and a wrapper for several GPUs
    may have put ``module.`` before its names.

    Raises:
        CheckpointCorrupt: missing, empty, truncated, or a pickle with more than tensors in it.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointCorrupt(f"{path}: no such file") from error
    except SafetensorError as error:
        raise CheckpointCorrupt(f"{path}: not a whole safetensors file ({error})") from error
    except Exception as error:  # torch.load raises a dozen unrelated types on damaged files
        raise CheckpointCorrupt(
            f"{path}: not a state dict of tensors only; pickles with code are refused "
            f"({type(error).__name__})"
        ) from error
    loaded = _inner(loaded)
    if not isinstance(loaded, dict) or not all(
        isinstance(v, torch.Tensor) for v in loaded.values()
    ):
        raise CheckpointCorrupt(f"{path}: holds {type(loaded).__name__}, expected named tensors")
    return _without_wrapper(loaded)


def _inner(loaded: Any) -> Any:
    """The state dict of a training checkpoint that keeps it beside other things."""
    if isinstance(loaded, dict):
        for name in _CHECKPOINT_KEYS:
            if isinstance(loaded.get(name), dict):
                return loaded[name]
    return loaded


def _without_wrapper(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names without the prefix that ``DistributedDataParallel`` puts before all of them."""
    if tensors and all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return dict(tensors)
