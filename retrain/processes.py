"""Several processes that train one network: what they share so that the result is that of one.

``accelerate launch`` starts them, a GPU each, or on CPUs over gloo. A step is the same step however
many they are: its images are dealt out among them, and what one process would compute over the
whole batch (the number of positive default boxes, the statistics of batch normalisation, the norm
of the gradient) is computed over all of them. So a run of one process may be gone on with by two,
and the other way round.

Every function here that takes part of others' work must be called by all processes, in one order.
With one process each is what it says without a word to anybody.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

import torch
from accelerate.utils import broadcast_object_list, gather_object
from torch import distributed
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.data import Sampler

from retrain.errors import ConfigInvalid

T = TypeVar("T")
_BATCH_NORM = functional.batch_norm


def count() -> int:
    """How many processes train together, at least 1."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Number of this one, from 0; known before they have found each other."""
    return int(os.environ.get("RANK", "0"))


def is_launched() -> bool:
    """Whether a launcher has started this process beside others."""
    return "LOCAL_WORLD_SIZE" in os.environ


def on_this_host() -> int:
    """How many of them share this host's cores and memory."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def is_first() -> bool:
    """Whether this is the one that writes files and tells how far the run is."""
    return rank() == 0


def require_together(batch_size: int, found: int) -> None:
    """Refuse what would train several networks side by side, or steps without images.

    Args:
        batch_size: images a step.
        found: processes that Accelerate has brought together.

    Raises:
        ConfigInvalid: the message says what to change.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if not started == found == count():
        raise ConfigInvalid(
            f"{started} processes were started and {found} train together: start them by "
            "`python -m retrain train --processes N`, or set ACCELERATE_USE_CPU=1 where "
            "`accelerate launch` starts them without GPUs"
        )
    if batch_size < count():
        raise ConfigInvalid(
            f"batch_size {batch_size} with {count()} processes: a step's images are dealt out "
            "among the processes, so it needs at least one for each"
        )


def summed(values: Sequence[float], device: torch.device) -> list[float]:
    """The sums over all processes of each of some numbers."""
    if count() == 1:
        return [float(value) for value in values]
    told = torch.tensor(list(values), dtype=torch.float32, device=device)
    distributed.all_reduce(told)
    return [float(value) for value in told]


def gathered(values: Sequence[Any]) -> list[Any]:
    """The values of all processes, in the order of their numbers."""
    return list(values) if count() == 1 else list(gather_object(list(values)))


def told_by_first(make: Callable[[], T]) -> T:
    """What the first process makes, for all of them; the others make nothing."""
    if count() == 1:
        return make()
    held: list[Any] = [make() if is_first() else None]
    broadcast_object_list(held)
    return cast("T", held[0])


class DealtBatches(Sampler[list[int]]):
    """Batches of one epoch as this process sees them: every n-th image of each.

    All processes see as many batches; of the last one some may see nothing.

    Args:
        length: of the epoch, in images.
        batch_size: images a step, over all processes.
    """

    def __init__(self, length: int, batch_size: int) -> None:
        self._length, self._batch_size = length, batch_size

    def __len__(self) -> int:
        return -(-self._length // self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        first, step = (rank(), count()) if count() > 1 else (0, 1)
        for start in range(0, self._length, self._batch_size):
            end = min(start + self._batch_size, self._length)
            yield list(range(start + first, end, step))


def shared_statistics(counted: bool = True) -> AbstractContextManager[Any]:
    """In here batch normalisation that trains takes its statistics over all processes.

    Args:
        counted: whether the images of this process are among those of the step.
    """
    return nullcontext() if count() == 1 else _SharedStatistics(counted)


class _SharedStatistics(TorchFunctionMode):
    """Whatever layer asks for it: torchvision's, timm's with its activation, SSDLite's."""

    def __init__(self, counted: bool) -> None:
        super().__init__()
        self._share = 1.0 if counted else 0.0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        if func is _BATCH_NORM:
            return _batch_norm(self._share, *args, **given)
        return func(*args, **given)


def _batch_norm(
    share: float,
    inputs: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    """``functional.batch_norm`` of [B, C, h, w], B of all processes together.

    Source:
        Ioffe and Szegedy, "Batch Normalization", 2015, over the batch of a step; two passes, as
        the variance from a sum of squares loses what is small beside the mean.
    """
    if not training:
        return _BATCH_NORM(inputs, running_mean, running_var, weight, bias, training, momentum, eps)
    dims = [0, *range(2, inputs.ndim)]
    shape = [1, -1, *[1] * (inputs.ndim - 2)]
    values = inputs.float()
    number = values.new_tensor([values.numel() / values.shape[1]])
    sums = _Summed.apply(share * torch.cat([values.sum(dims), number]))
    n = sums[-1].detach().clamp(min=1)
    mean = sums[:-1] / n
    centred = values - mean.view(shape)
    variance = _Summed.apply(share * (centred * centred).sum(dims)) / n
    with torch.no_grad():
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
            unbiased = variance.detach() * (n / (n - 1).clamp(min=1))
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    normal = centred * torch.rsqrt(variance + eps).view(shape)
    if weight is not None:
        normal = normal * weight.float().view(shape)
    if bias is not None:
        normal = normal + bias.float().view(shape)
    found: torch.Tensor = normal.to(inputs.dtype)
    return found


class _Summed(torch.autograd.Function):
    """Sum over the processes; each one's gradient is the sum of what all of them send back."""

    @staticmethod
    def forward(context: Any, values: torch.Tensor) -> torch.Tensor:
        held = values.contiguous().clone()
        distributed.all_reduce(held)
        return held

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        held = gradient.contiguous().clone()
        distributed.all_reduce(held)
        return held
