"""What the science asks of a detector and of an encoder.

The consumer owns the interface: whatever offers a differentiable score of one default box for a
batch of perturbed inputs can be explained, an SSD as well as a toy with a known answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import torch

from curation.types import Detections, ImageArray, Proposals, ScoreTarget


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
