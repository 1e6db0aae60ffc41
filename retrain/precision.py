"""Scores from passes in half precision, with gradients that survive it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

from curation.kernel.detector import Precision

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_SCALES = {"bf16": 1.0, "fp16": 1024.0}
"""Gradients of a pixel lie around 1e-5 and below: under the 6e-5 from which on float16 loses bits.
A map is linear in them, so they are multiplied on the way in and divided on the way out."""


@dataclass(frozen=True, slots=True)
class Passes:
    """How a network is run from normalised inputs to logits.

    Weights stay in float32, the one copy of them, and are cast as layers need them; what torch
    holds to be unsafe in half precision it computes in float32. Logits leave as float32.

    Args:
        precision: of convolutions; "fp32" changes nothing.
        device_type: "cpu" or "cuda".

    Raises:
        ValueError: there is no such precision.
    """

    precision: Precision
    device_type: str

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", *_DTYPES):
            raise ValueError(
                f"no precision {self.precision!r}; there are fp32, {', '.join(_DTYPES)}"
            )

    def context(self) -> contextlib.AbstractContextManager[Any]:
        """Layers run in here."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device_type, _DTYPES[self.precision])

    def enter(self, inputs: torch.Tensor) -> torch.Tensor:
        """The inputs float32, whose gradient comes back in its true size."""
        return self._scaled(inputs, down=True)

    def leave(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits as float32, whose gradient goes in magnified."""
        return self._scaled(logits.float(), down=False)

    def _scaled(self, values: torch.Tensor, down: bool) -> torch.Tensor:
        factor = _SCALES.get(self.precision, 1.0)
        if factor == 1:
            return values
        found: torch.Tensor = _ScaledGradient.apply(values, 1 / factor if down else factor)
        return found


class _ScaledGradient(torch.autograd.Function):
    """The same values; their gradient times a factor."""

    @staticmethod
    def forward(context: Any, values: torch.Tensor, factor: float) -> torch.Tensor:
        context.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient * context.factor, None
