"""Toy detectors that implement the Detector protocol, with attributions known in closed form.

All look at an image through cells of a grid: ``m_i`` is the sum of the normalised input over the
channels and pixels of cell i. With the same grid as superpixels, dimming segment i by ``w_i``
turns ``m_i`` into ``w_i m_i``, and the score is a polynomial in ``w``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from curation import superpixels
from curation.kernel.detector import ScoreKind
from curation.kernel.types import Detections, ImageArray, Proposals, ScoreTarget


class ToyDetector:
    """Logits [B, A, K] from a subclass; A default boxes on a grid over the image, no regression.

    The toy's logit of class k at default box a is what a subclass says; background is 0.
    """

    class_names = ("background", "disc", "square")
    version = "toy-1"

    def __init__(self, input_size_hw: tuple[int, int] = (24, 32), rows: int = 2, columns: int = 3):
        self.input_size_hw = input_size_hw
        self.rows, self.columns = rows, columns
        self.forward_rows = 0
        self.forward_calls = 0

    @property
    def num_default_boxes(self) -> int:
        return self.rows * self.columns

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """[B, A, K]."""
        raise NotImplementedError

    def preprocess(self, images: Sequence[ImageArray]) -> torch.Tensor:
        height, width = self.input_size_hw
        warped = [
            np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
            for image in images
        ]
        return torch.from_numpy(np.stack(warped)).permute(0, 3, 1, 2).float() / 255 - 0.5

    def scores(
        self, inputs: torch.Tensor, targets: Sequence[ScoreTarget], kind: ScoreKind
    ) -> torch.Tensor:
        self.forward_calls += 1
        self.forward_rows += len(inputs)
        logits = self.logits(inputs)  # [B, A, K]
        at_box = logits[:, [target.default_box for target in targets]]  # [B, T, K]
        label = torch.tensor([target.label for target in targets])[None, :, None]
        label = label.expand(len(inputs), -1, 1)
        own = at_box.gather(2, label)[:, :, 0]  # [B, T]
        if kind is ScoreKind.LOGIT:
            return own
        if kind is ScoreKind.PROBABILITY:
            return at_box.softmax(2).gather(2, label)[:, :, 0]
        others = at_box.scatter(2, label, float("-inf"))
        return own - others.logsumexp(2)

    def propose(self, images: Sequence[ImageArray]) -> list[Proposals]:
        with torch.no_grad():
            probabilities = self.logits(self.preprocess(images)).softmax(2).float().numpy()
        return [
            Proposals(boxes, probability, boxes)
            for boxes, probability in zip(map(self.boxes_of, images), probabilities, strict=True)
        ]

    def predict(
        self, images: Sequence[ImageArray], score_threshold: float = 0.01
    ) -> list[Detections]:
        """The best class of each default box; boxes do not overlap, so nothing is suppressed."""
        found = []
        for proposal in self.propose(images):
            label = proposal.probabilities[:, 1:].argmax(1) + 1
            score = proposal.probabilities[np.arange(len(label)), label]
            order = np.argsort(-score, kind="stable")
            detections = Detections(
                proposal.boxes_xyxy[order], score[order], label[order], order.astype(np.int64)
            )
            found.append(detections.above(score_threshold))
        return found

    def boxes_of(self, image: ImageArray) -> np.ndarray:
        """[A, 4] px of the image."""
        step_x, step_y = image.shape[1] / self.columns, image.shape[0] / self.rows
        return np.array(
            [
                (column * step_x, row * step_y, (column + 1) * step_x, (row + 1) * step_y)
                for row in range(self.rows)
                for column in range(self.columns)
            ],
            np.float32,
        )


class PolynomialToy(ToyDetector):
    """Logit of class 1 = bias + sum a_i m_i + sum q_ij m_i m_j + c m_0 m_1 m_2, at every box.

    Args:
        linear: [S] a.
        quadratic: [S, S] q; the diagonal may be non-zero. None for none.
        triple: c.
        bias: of the logit.
    """

    def __init__(
        self,
        linear: np.ndarray,
        quadratic: np.ndarray | None = None,
        triple: float = 0.0,
        bias: float = 0.0,
        input_size_hw: tuple[int, int] = (24, 32),
    ):
        super().__init__(input_size_hw)
        size = len(linear)
        self.segments = superpixels.grid(input_size_hw, size)
        if superpixels.count(self.segments) != size:
            raise ValueError(f"no grid of exactly {size} cells on {input_size_hw}")
        self.linear = torch.from_numpy(linear.astype(np.float32))
        quadratic = np.zeros((size, size)) if quadratic is None else quadratic
        self.quadratic = torch.from_numpy(quadratic.astype(np.float32))
        self.triple, self.bias = triple, bias

    def cell_sums(self, inputs: torch.Tensor) -> torch.Tensor:
        """m, [B, S]."""
        labels = torch.from_numpy(self.segments.ravel().astype(np.int64))
        by_pixel = inputs.sum(1).flatten(1)
        return by_pixel.new_zeros(len(inputs), len(self.linear)).index_add(1, labels, by_pixel)

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        m = self.cell_sums(inputs)
        value = self.bias + m @ self.linear.to(m)
        value = value + (m @ self.quadratic.to(m) * m).sum(1)
        if self.triple:
            value = value + self.triple * m[:, 0] * m[:, 1] * m[:, 2]
        zero = torch.zeros_like(value)
        one_box = torch.stack([zero, value, zero - 1], dim=1)  # [B, K]
        return one_box[:, None].expand(-1, self.num_default_boxes, -1)

    def expected_e2x(self, image: ImageArray) -> np.ndarray:
        """[S] float64: the mean on/off difference of each segment, the others uniform in 0..1.

        Each other segment enters at its mean 1/2; the own square q_ii m_i^2 counts whole.
        """
        m = self.cell_sums(self.preprocess([image]))[0].double().numpy()
        linear, quadratic = self.linear.double().numpy(), self.quadratic.double().numpy()
        cross = (quadratic + quadratic.T) * np.outer(m, m)
        own = np.diag(quadratic) * m**2
        expected = linear * m + own + (cross.sum(1) - np.diag(cross)) / 2
        if self.triple:
            expected[:3] += self.triple * m[0] * m[1] * m[2] / 4
        return expected

    def expected_shapley(self, image: ImageArray) -> np.ndarray:
        """[S] float64: each product is shared equally by the segments in it."""
        expected = self.expected_e2x(image)  # a pair's halves are its Shapley shares already
        if self.triple:
            m = self.cell_sums(self.preprocess([image]))[0].double().numpy()
            expected[:3] += self.triple * m[0] * m[1] * m[2] * (1 / 3 - 1 / 4)
        return expected


class ConvToy(ToyDetector):
    """A small random network with sharp responses: a torch module, as a real detector has."""

    def __init__(self, seed: int = 0, input_size_hw: tuple[int, int] = (24, 32)):
        super().__init__(input_size_hw)
        generator = torch.Generator().manual_seed(seed)
        outputs = self.num_default_boxes * len(self.class_names)
        self.module = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 5, stride=2, padding=2),
            torch.nn.Tanh(),
            torch.nn.Conv2d(8, 8, 3, stride=2, padding=1),
            torch.nn.SiLU(),
            torch.nn.AdaptiveAvgPool2d((3, 4)),
            torch.nn.Flatten(),
            torch.nn.Linear(96, outputs),
        ).eval()
        with torch.no_grad():
            for parameter in self.module.parameters():
                spread = 1.5 / max(1, parameter[0].numel()) ** 0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
            self.module[0].weight.mul_(3)
            self.module[6].weight.mul_(3)

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.module(inputs).view(len(inputs), self.num_default_boxes, -1)


def textured_image(seed: int, width: int = 64, height: int = 48) -> ImageArray:
    """Smooth random colours, so that SLIC has something to follow."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
