"""What the science asks of a detector and of an encoder.

The consumer owns the interface: whatever offers a differentiable score of one default box for a
batch of perturbed inputs can be explained, an SSD as well as a toy with a known answer.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from torch import nn

from curation.kernel.types import Detections, ImageArray, Proposals, ScoreTarget

Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]
"""Of the passes that score perturbed inputs."""


class ScoreKind(StrEnum):
    """The unit of an explained score."""

    PROBABILITY = "probability"
    """Softmax probability, in 0..1: the paper's choice."""
    LOGIT = "logit"
    """The class's own output before the softmax."""
    LOG_ODDS = "log_odds"
    """z_c - logsumexp of the other classes' logits, = log(p / (1 - p))."""


class Detector(Protocol):
    """A detector that can be explained."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """K names, background first."""
        ...

    @property
    def version(self) -> str:
        """Hash of weights and configuration: equal versions give equal outputs."""
        ...

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """(h, w) of the network input; images are warped to it without letterbox."""
        ...

    def predict(
        self, images: Sequence[ImageArray], score_threshold: float = 0.01
    ) -> list[Detections]:
        """Detections of each image after non-maximum suppression, by falling score."""
        ...

    def propose(self, images: Sequence[ImageArray]) -> list[Proposals]:
        """All A default boxes of each image, decoded, with their class probabilities."""
        ...

    def preprocess(self, images: Sequence[ImageArray]) -> torch.Tensor:
        """Network inputs [B, 3, h, w] float32, normalised so that zero is the mean colour."""
        ...

    def scores(
        self, inputs: torch.Tensor, targets: Sequence[ScoreTarget], kind: ScoreKind
    ) -> torch.Tensor:
        """Scores [B, T] of the targets for each input [B, 3, h, w]; differentiable, no NMS.

        Parameters need no gradient. Every target is scored on every row of the batch.
        """
        ...


class Place(NamedTuple):
    """Where a default box sits in the network's outputs."""

    level: int
    """Feature map, fine to coarse."""
    shape: int
    """Which of the cell's default boxes, in 0..P-1."""
    row: int
    column: int


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """The layers of a single-shot detector, for methods that look inside.

    Take :meth:`copy` before hooking or changing anything. Layers are in evaluation mode, their
    parameters frozen, batch norms folded where the logits agree.

    Attributes:
        backbone: [B, 3, h, w] normalised input to a mapping of feature maps, fine to coarse.
        class_heads: one a level: feature map to [B, P*K, fh, fw] logits.
        box_heads: one a level: feature map to [B, P*4, fh, fw] offsets (cx, cy, w, h) in units
            of the box coder.
        cells: (fh, fw, P) a level; default boxes are numbered by level, row, column, shape.
        num_classes: K, background first.
        pixel_range: [2, 3] smallest and largest value of each channel of a normalised input.
    """

    backbone: nn.Module
    class_heads: nn.ModuleList
    box_heads: nn.ModuleList
    cells: tuple[tuple[int, int, int], ...]
    num_classes: int
    pixel_range: torch.Tensor

    def copy(self) -> Network:
        """A network of its own; hooks and changes of the copy leave the original alone."""
        layers = copy.deepcopy((self.backbone, self.class_heads, self.box_heads))
        return Network(*layers, self.cells, self.num_classes, self.pixel_range.clone())

    def maps(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps [B, C, fh, fw] of normalised inputs, fine to coarse; differentiable."""
        return list(self.backbone(inputs).values())

    def place(self, default_box: int) -> Place:
        """Where a default box sits.

        Raises:
            ValueError: there is no such default box.
        """
        rest = default_box
        for level, (height, width, shapes) in enumerate(self.cells):
            if 0 <= rest < height * width * shapes:
                cell, shape = divmod(rest, shapes)
                return Place(level, shape, *divmod(cell, width))
            rest -= height * width * shapes
        raise ValueError(f"no default box {default_box}")

    def class_logits(self, maps: Sequence[torch.Tensor], place: Place) -> torch.Tensor:
        """[B, K] logits of one default box."""
        raw = self.class_heads[place.level](maps[place.level])[:, :, place.row, place.column]
        return raw.unflatten(1, (-1, self.num_classes))[:, place.shape]  # type: ignore[no-any-return]

    def box_offsets(self, maps: Sequence[torch.Tensor], place: Place) -> torch.Tensor:
        """[B, 4] raw offsets (cx, cy, w, h) of one default box."""
        raw = self.box_heads[place.level](maps[place.level])[:, :, place.row, place.column]
        return raw.unflatten(1, (-1, 4))[:, place.shape]  # type: ignore[no-any-return]


@runtime_checkable
class WhiteBox(Protocol):
    """A detector that shows its layers."""

    def network(self) -> Network:
        """Its layers, shared with the detector: copy before changing."""
        ...


@runtime_checkable
class GivesOutputs(Protocol):
    """A detector that gives all that one default box comes to, before suppression."""

    def outputs(
        self, inputs: torch.Tensor, default_boxes: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Class logits [B, D, K] and offsets [B, D, 4] of default boxes; differentiable.

        Offsets are how far the centre moves right and down, in widths and heights of the default
        box, and the natural logarithms of width and height over the default box's.
        """
        ...


@runtime_checkable
class ReducesPrecision(Protocol):
    """A detector that can score in a lower precision."""

    def in_precision(self, precision: Precision) -> Detector:
        """The same detector with its scores so computed; what it detects stays the same."""
        ...


class Encoder(Protocol):
    """A backbone whose feature map describes regions."""

    @property
    def version(self) -> str:
        """Hash of weights and configuration; vectors of different versions never mix."""
        ...

    @property
    def width(self) -> int:
        """D, the number of channels of the feature map."""
        ...

    def encode(self, images: Sequence[ImageArray]) -> torch.Tensor:
        """Feature maps [B, D, fh, fw] float32 of images warped to the encoder's input size."""
        ...
