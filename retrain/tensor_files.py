"""Files of named tensors, whoever wrote them, without the code that a pickle may carry.

What a file is, is found from its content: safetensors may be called ``.pt``, and a zip of
``torch.save`` may be called ``.safetensors``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from retrain.errors import CheckpointCorrupt
from retrain.pickles import load_tensors_only

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80\x02"
_LFS = b"version https://git-lfs"
_HEADER_BYTES = 8
"""Length of the header of a safetensors file, before the header itself, which is JSON."""
_MAX_DEPTH = 8
"""Of dicts and lists in a training checkpoint; a network lies in the first three."""


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a file, by name.

    A training checkpoint keeps them in dicts within dicts; their keys are put before the names, as
    in ``model.backbone.features.0.weight``. What else it holds (arguments, an epoch) is left.

    Returns:
        Tensors on the CPU, in the order of the file.

    Raises:
        CheckpointCorrupt: missing, empty, truncated, without a tensor, or a pickle that wants code
            to run.
    """
    head = _head(path)
    safe = head[_HEADER_BYTES : _HEADER_BYTES + 1] == b"{" and not head.startswith(_ZIP)
    named_so = path.suffix.lower() == ".safetensors" and not head.startswith((_ZIP, _PICKLE))
    if safe or named_so:
        return read_safetensors(path)
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in _named(load_tensors_only(path), "", set(), 0):
        if name in tensors:
            raise CheckpointCorrupt(f"{path}: two tensors are called {name}")
        tensors[name] = tensor
    if not tensors:
        raise CheckpointCorrupt(f"{path}: no named tensors in it")
    return tensors


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file; any other kind is refused.

    Raises:
        CheckpointCorrupt: missing, empty, truncated or of another kind.
    """
    _head(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointCorrupt(f"{path}: not a whole safetensors file ({error})") from error


def require_finite(tensors: dict[str, torch.Tensor], where: str) -> None:
    """Refuse weights and statistics that no picture can be judged with.

    Args:
        tensors: of a network; integers are always finite.
        where: what to call it.

    Raises:
        CheckpointCorrupt: a value is NaN or infinite, or a variance is negative; the message names
            the first such tensor.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        finite = int(torch.isfinite(tensor).sum())
        if finite < tensor.numel():
            raise CheckpointCorrupt(
                f"{where}: {name} has {tensor.numel() - finite} of {tensor.numel()} values that "
                "are NaN or infinite: its training diverged, or half precision was too narrow; "
                "take an earlier checkpoint, or one that was saved in float32"
            )
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise CheckpointCorrupt(f"{where}: {name} has a negative variance")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError as error:
        raise CheckpointCorrupt(f"{path}: no such file") from error
    except OSError as error:
        raise CheckpointCorrupt(f"{path}: cannot be read ({error.strerror})") from error
    if head.startswith(_LFS):
        raise CheckpointCorrupt(f"{path}: only Git LFS's pointer to the file: run `git lfs pull`")
    return head


def _named(value: Any, name: str, seen: set[int], depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors below a value with the path to each; what was seen is not entered twice."""
    if isinstance(value, torch.Tensor):
        yield name, value
        return
    if not isinstance(value, dict | list | tuple) or id(value) in seen or depth > _MAX_DEPTH:
        return
    seen.add(id(value))
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        if isinstance(key, str | int):
            yield from _named(inner, f"{name}.{key}" if name else str(key), seen, depth + 1)
