"""What a training run consists of: trainable parts, rates, weight average, resume file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel
from torchvision.models.detection.ssd import SSD

from curation.kernel.files import write_atomically
from retrain import processes
from retrain.backbones import EfficientNetLite0
from retrain.config import TrainConfig
from retrain.errors import CheckpointCorrupt
from retrain.loss import Target, ssd_loss
from retrain.preprocess import normalise
from retrain.ssd import feature_maps, place_default_boxes

RESUME_FILE = "resume.pt"
_STEM_UNITS = ("conv_stem", "bn1")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is.

    Attributes:
        epoch: finished epochs.
        epochs: in all.
        step: finished steps over all epochs.
        steps: in all.
        loss: mean of the last steps.
        eta_s: seconds to go, from the pace so far.
        ap50: of the validation share at the last look, in 0..1; None without one.

    By patience ``epochs`` is 0, and ``steps`` is the bound until it is known when the run ends.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    eta_s: float
    ap50: float | None = None


class LossModule(nn.Module):
    """Model and loss as one module, so that it can be wrapped for several devices.

    Args:
        model: the SSD that is trained.
        input_size_hw: of the network input.
        freeze_batch_norm: keep the statistics of the backbone's pretrained layers.
    """

    default_boxes: torch.Tensor

    def __init__(self, model: SSD, input_size_hw: tuple[int, int], freeze_batch_norm: bool) -> None:
        super().__init__()
        self.model = model
        self._freeze_batch_norm, self._size_hw = freeze_batch_norm, input_size_hw
        model.eval()
        with torch.no_grad():
            maps = feature_maps(model, torch.zeros(1, 3, *input_size_hw))
            placed = place_default_boxes(model, maps, input_size_hw)
        self.register_buffer("default_boxes", placed, persistent=False)
        self.train()

    def train(self, mode: bool = True) -> LossModule:
        """Training mode everywhere but in frozen normalisation."""
        super().train(mode)
        units = backbone_units(self.model) if self._freeze_batch_norm else []
        for layer in (layer for unit in units for layer in unit.modules()):
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
        return self

    def forward(self, pixels: torch.Tensor, targets: list[Target]) -> torch.Tensor:
        """Loss of uint8 pixels [B, 3, h, w].

        Its mean over the processes is the loss of the whole step, and so is its gradient's, which
        is what they exchange: the sums of each are divided by the positives of all. A process
        whose share is empty (B = 0) sends a blank image along, which has nothing to be found and
        counts in no statistics: the others wait for it at every layer.
        """
        blank = not targets
        if blank:
            pixels = pixels.new_zeros(1, 3, *self._size_hw)
            targets = [
                Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))
            ]
        transform = self.model.transform
        inputs = normalise(pixels, transform.image_mean, transform.image_std)
        device = inputs.device
        moved = [
            Target(t.boxes.to(device), t.labels.to(device), t.ignored.to(device)) for t in targets
        ]

        def divisor(positives: int) -> float:
            (everywhere,) = processes.summed([positives], device)
            return max(1.0, everywhere) / processes.count()

        with processes.shared_statistics(counted=not blank):
            losses = ssd_loss(self.model, inputs, moved, self.default_boxes, divisor)
        return losses[0] + losses[1]


def backbone_units(model: SSD) -> list[nn.Module]:
    """The pretrained part in the order of execution, cut into units that can be frozen."""
    backbone: Any = model.backbone
    if isinstance(backbone, EfficientNetLite0):
        stages: Any = backbone.stages
        children = [child for stage in stages for child in stage.named_children()]
        stem = nn.ModuleList([module for name, module in children if name in _STEM_UNITS])
        return [stem, *(module for name, module in children if name not in _STEM_UNITS)]
    if hasattr(backbone, "scale_weight"):  # VGG16: its fifth block opens the first extra level
        convolutions = [layer for layer in backbone.features if isinstance(layer, nn.Conv2d)]
        return [*convolutions, *(backbone.extra[0][i] for i in (1, 3, 5))]
    return [block for stage in backbone.features for block in stage]


def freeze(model: SSD, num_units: int) -> None:
    """Stop the gradient of the first units; without one no graph is kept for them either."""
    for unit in backbone_units(model)[:num_units]:
        unit.requires_grad_(False)


def make_optimiser(model: SSD, config: TrainConfig) -> AdamW:
    """AdamW with a lower rate for pretrained layers and no decay of biases and normalisation."""
    pretrained = {id(p) for unit in backbone_units(model) for p in unit.parameters()}
    groups: list[dict[str, Any]] = []
    for slow in (True, False):
        rate = config.learning_rate * (config.backbone_rate_factor if slow else 1)
        chosen = [p for p in _trainable(model) if (id(p) in pretrained) is slow]
        for decayed in (True, False):
            parameters = [p for p in chosen if (p.ndim > 1) is decayed]
            if parameters:
                decay = config.weight_decay if decayed else 0.0
                groups.append({"params": parameters, "lr": rate, "weight_decay": decay})
    return AdamW(groups, foreach=True)


def _trainable(model: SSD) -> Iterator[nn.Parameter]:
    return (parameter for parameter in model.parameters() if parameter.requires_grad)


def make_average(model: SSD, decay: float) -> AveragedModel:
    """Exponential average of weights and statistics; short at first so that short runs gain."""

    def update(
        average: Sequence[torch.Tensor], current: Sequence[torch.Tensor], count: Any
    ) -> None:
        warm = (1 + float(count)) / (10 + float(count))
        weight = 1 - min(decay, warm)
        if average[0].is_floating_point():
            torch._foreach_lerp_(list(average), list(current), weight)
        else:
            torch._foreach_copy_(list(average), list(current))

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)


def write_resume(folder: Path, state: dict[str, Any]) -> None:
    """Everything that a resumed run needs, in one atomic file."""
    write_atomically(folder / RESUME_FILE, lambda file: torch.save(state, file))


def read_resume(folder: Path) -> dict[str, Any] | None:
    """What :func:`write_resume` wrote, None where there is nothing.

    Raises:
        CheckpointCorrupt: the file is damaged; delete it to start over.
    """
    path = folder / RESUME_FILE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return dict(state)
    except Exception as error:  # torch.load raises a dozen unrelated types on damaged files
        raise CheckpointCorrupt(
            f"{path}: cannot be resumed from ({type(error).__name__}); delete it to start over"
        ) from error
