"""A trained SSD as the science sees it: :class:`curation.kernel.detector.Detector`."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torchvision.models.detection.ssd import SSD

from curation.kernel.detector import Network, Precision, ScoreKind
from curation.kernel.types import Detections, ImageArray, Proposals, ScoreTarget
from retrain import checkpoint
from retrain.config import DetectorConfig
from retrain.fold import folded
from retrain.postprocess import decode, detections, suppress, to_image
from retrain.precision import Passes
from retrain.preprocess import normalise, warp
from retrain.scores import logits_of, outputs_of, scores_of
from retrain.ssd import boxes_per_level, build, feature_maps, place_default_boxes
from retrain.weights import WeightsRecord, initialise


class SsdDetector:
    """An SSD frozen for inference; implements the ``Detector`` protocol.

    Parameters need no gradient, inputs may. Normalisation is folded where the logits agree.

    Args:
        model: from ``ssd.build(config)`` with the weights to use; kept unchanged for ``save``.
        config: what the model was built from.
        device: where to run.
        batch_size: images a forward pass in ``predict`` and ``propose``.
    """

    def __init__(
        self, model: SSD, config: DetectorConfig, device: str = "cpu", batch_size: int = 8
    ) -> None:
        self.config = config
        self.device = torch.device(device)
        self._state = {
            name: value.detach().cpu().clone() for name, value in model.state_dict().items()
        }
        self._version = checkpoint.version_of(self._state, config)
        self._batch_size = batch_size
        self._passes = Passes("fp32", self.device.type)
        model = folded(copy.deepcopy(model).eval(), config.input_size_hw).to(self.device)
        self.model = model.requires_grad_(False).eval()
        with torch.inference_mode():
            maps = feature_maps(
                self.model, torch.zeros(1, 3, *config.input_size_hw, device=self.device)
            )
        with torch.no_grad():
            self._default_boxes = place_default_boxes(
                self.model, maps, config.input_size_hw
            ).clone()
        counts = boxes_per_level(self.model, maps)
        self._level_ends = np.cumsum(counts)
        self._cells = tuple(
            (level.shape[-2], level.shape[-1], count // (level.shape[-2] * level.shape[-1]))
            for level, count in zip(maps, counts, strict=True)
        )

    @classmethod
    def fresh(
        cls, config: DetectorConfig, weights: str = "auto", seed: int = 0, device: str = "cpu"
    ) -> tuple[SsdDetector, WeightsRecord]:
        """An untrained detector; its head answers at random."""
        model = build(config, seed)
        record = initialise(model, config, weights)
        return cls(model, config, device), record

    def state(self) -> dict[str, torch.Tensor]:
        """The weights before folding, on the CPU."""
        return self._state

    @property
    def class_names(self) -> tuple[str, ...]:
        """K names, background first."""
        return self.config.class_names

    @property
    def version(self) -> str:
        """SHA-256 of weights, configuration and a lower precision, 64 hex digits."""
        if self._passes.precision == "fp32":
            return self._version
        return hashlib.sha256(f"{self._version} {self._passes.precision}".encode()).hexdigest()

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """(h, w) of the network input."""
        return self.config.input_size_hw

    @property
    def num_default_boxes(self) -> int:
        """A."""
        return len(self._default_boxes)

    def in_precision(self, precision: Precision) -> SsdDetector:
        """This detector, weights and all, with :meth:`scores` from passes in another precision.

        Only scores change: what it detects and the layers it shows stay in float32.

        Args:
            precision: "fp16" wants a GPU, on which it is several times as fast; "bf16"
                also serves processors that have it, at three bits less.

        Raises:
            ValueError: there is no such precision.
        """
        if precision == self._passes.precision:
            return self
        other = copy.copy(self)
        other._passes = Passes(precision, self.device.type)
        return other

    def network(self) -> Network:
        """The layers, for methods that look inside; shared, so copy before changing."""
        head, transform = self.model.head, self.model.transform
        ends = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
        mean, deviation = torch.tensor(transform.image_mean), torch.tensor(transform.image_std)
        return Network(
            self.model.backbone,
            head.classification_head.module_list,
            head.regression_head.module_list,
            self._cells,
            len(self.class_names),
            ((ends - mean) / deviation).to(self.device),
        )

    def preprocess(self, images: Sequence[ImageArray]) -> torch.Tensor:
        """Network inputs [B, 3, h, w] float32 on the device; zero is the mean colour."""
        if not images:
            return torch.zeros(0, 3, *self.input_size_hw, device=self.device)
        pixels = torch.stack([warp(image, self.input_size_hw) for image in images])
        transform = self.model.transform
        return normalise(pixels.to(self.device), transform.image_mean, transform.image_std)

    def scores(
        self, inputs: torch.Tensor, targets: Sequence[ScoreTarget], kind: ScoreKind
    ) -> torch.Tensor:
        """Scores [B, T] of each target on each input; differentiable, without suppression.

        Runs the backbone up to the coarsest level that a target lies on and the classification
        head only.

        Args:
            inputs: [B, 3, h, w] float32, normalised.
            targets: default box in 0..A-1 and label in 0..K-1.
            kind: unit of the scores.

        Raises:
            ValueError: a target names a default box or class that this detector does not have.
        """
        index = [target.default_box for target in targets]
        label = [target.label for target in targets]
        if not targets:
            return inputs.new_zeros(len(inputs), 0)
        self._require(index)
        if not (min(label) >= 0 and max(label) < len(self.class_names)):
            raise ValueError(f"labels {label} must lie in 0..{len(self.class_names) - 1}")
        with self._passes.context():
            inputs = self._passes.enter(inputs)
            logits = logits_of(self.model, inputs, index, self._level_ends)  # [B, T, K]
        logits = self._passes.leave(logits)
        return scores_of(logits, torch.tensor(label, device=logits.device), kind)

    def outputs(
        self, inputs: torch.Tensor, default_boxes: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [B, D, K] and offsets [B, D, 4] of default boxes; differentiable.

        Args:
            inputs: [B, 3, h, w] float32, normalised.
            default_boxes: D of them, at least one, in 0..A-1.

        Returns:
            Offsets as :class:`curation.kernel.detector.GivesOutputs` has them.

        Raises:
            ValueError: there is no such default box.
        """
        self._require(default_boxes)
        with self._passes.context():
            logits, offsets = outputs_of(
                self.model, self._passes.enter(inputs), default_boxes, self._level_ends
            )
        return self._passes.leave(logits), self._passes.leave(offsets)

    def _require(self, boxes: Sequence[int]) -> None:
        """Refuse default boxes that are not there."""
        if not (boxes and min(boxes) >= 0 and max(boxes) < self.num_default_boxes):
            raise ValueError(
                f"default boxes {list(boxes)} must lie in 0..{self.num_default_boxes - 1}"
            )

    @torch.no_grad()
    def _forward(
        self, images: Sequence[ImageArray]
    ) -> Iterator[tuple[tuple[int, int], torch.Tensor, torch.Tensor]]:
        """For each image its size, decoded boxes [A, 4] and probabilities [A, K]."""
        for start in range(0, len(images), self._batch_size):
            batch = images[start : start + self._batch_size]
            output = self.model.head(feature_maps(self.model, self.preprocess(batch)))
            probabilities = output["cls_logits"].softmax(dim=-1)  # [B, A, K]
            for row, image in enumerate(batch):
                boxes = decode(
                    output["bbox_regression"][row], self._default_boxes, self.input_size_hw
                )
                yield (image.shape[0], image.shape[1]), boxes, probabilities[row]

    def predict(
        self, images: Sequence[ImageArray], score_threshold: float = 0.01
    ) -> list[Detections]:
        """Detections of each image after suppression, by falling score.

        Args:
            images: RGB uint8 [H, W, 3], sizes may differ.
            score_threshold: detections score above it, in 0..1.
        """
        return [self._shown(*one, score_threshold) for one in self._forward(images)]

    def propose(self, images: Sequence[ImageArray]) -> list[Proposals]:
        """Every default box of each image, decoded, with its class probabilities."""
        return [self._proposed(*one) for one in self._forward(images)]

    def look(
        self, images: Sequence[ImageArray], score_threshold: float = 0.01
    ) -> list[tuple[Detections, Proposals]]:
        """What :meth:`predict` and :meth:`propose` say of each image, from one pass."""
        return [
            (self._shown(*one, score_threshold), self._proposed(*one))
            for one in self._forward(images)
        ]

    def _shown(
        self,
        size_hw: tuple[int, int],
        boxes: torch.Tensor,
        probabilities: torch.Tensor,
        score_threshold: float,
    ) -> Detections:
        config = self.config
        index, labels = suppress(
            boxes,
            probabilities,
            score_threshold,
            config.nms_iou,
            config.max_candidates,
            config.max_detections,
        )
        in_image = to_image(boxes, self.input_size_hw, size_hw)
        return detections(in_image, probabilities, index, labels)

    def _proposed(
        self, size_hw: tuple[int, int], boxes: torch.Tensor, probabilities: torch.Tensor
    ) -> Proposals:
        return Proposals(
            to_image(boxes, self.input_size_hw, size_hw),
            probabilities.cpu().numpy().astype(np.float32),
            to_image(self._default_boxes, self.input_size_hw, size_hw),
        )

    def save(self, folder: Path, record: WeightsRecord | None = None) -> Path:
        """Write ``model.safetensors`` and ``config.json``; atomic a file, configuration last."""
        return checkpoint.save(folder, self._state, self.config, record)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", batch_size: int = 8) -> SsdDetector:
        """The detector that :meth:`save` wrote.

        Raises:
            CheckpointCorrupt: a file is missing, damaged, a pickle, or not of this version.
        """
        config, tensors = checkpoint.load(folder)
        model = build(config)
        checkpoint.fill(model, tensors, str(folder))
        return cls(model, config, device, batch_size)
