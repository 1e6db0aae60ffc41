"""Which channels of a detector tell its classes apart: responses of boxes, and a sparse fit.

Read :func:`responses`, then :func:`fit`, which :mod:`curation.explain.methods.l1_ball` solves.
:mod:`curation.explain.methods.vebi` draws what is found here.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from curation.explain.base import layers_of
from curation.explain.methods.l1_ball import MU, solve
from curation.kernel import files
from curation.kernel.detector import Detector, Network
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import BoolArray, FloatArray, ImageArray, IntArray

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU)
"""Modules whose outputs can be features."""

_COARSEST_STRIDE_PX = 40  # a map of stride 32 whose sides were rounded still counts
_Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FeatureModel:
    """Weights of channels for each class of one detector.

    Attributes:
        version: of the detector that it was fitted on.
        layers: names of the layers, see :func:`layer_names`.
        channels: of each layer; F is their sum.
        weights: [K, F] float32, rows by class, columns by layer and channel; [K + 1, F] where the
            fit was told which objects were missed, the last row theirs.
        mu: largest sum of absolute weights in a row.
        num_boxes: that it was fitted on.
    """

    version: str
    layers: tuple[str, ...]
    channels: tuple[int, ...]
    weights: FloatArray
    mu: float
    num_boxes: int

    def __post_init__(self) -> None:
        if len(self.layers) != len(self.channels) or self.weights.ndim != 2:
            raise ValueError("layers and channels must have one length, weights two dimensions")
        if self.weights.shape[1] != sum(self.channels):
            raise ValueError(f"{self.weights.shape[1]} weights for {sum(self.channels)} channels")

    @property
    def fingerprint(self) -> str:
        """Hash of all that an explanation depends on."""
        text = repr((self.version, self.layers, self.channels)).encode()
        return hashlib.sha256(text + self.weights.tobytes()).hexdigest()[:16]

    def relevant(self, label: int) -> IntArray:
        """Features of a class with a weight, by falling size of the weight."""
        weights = np.abs(self.weights[label])
        order = np.argsort(-weights, kind="stable")
        found: IntArray = order[weights[order] > 0].astype(np.int64)
        return found

    def where(self, feature: int) -> tuple[int, int]:
        """Layer and channel of a feature in 0..F-1."""
        ends = np.cumsum(self.channels)
        layer = int(np.searchsorted(ends, feature, side="right"))
        return layer, feature - int(ends[layer] - self.channels[layer])

    def require(self, detector: Detector) -> None:
        """Refuse a detector of another version.

        Raises:
            ExplanationFailed: the weights are of another detector's channels.
        """
        if detector.version != self.version:
            raise ExplanationFailed(
                f"the feature model was fitted on detector {self.version[:12]}, not on "
                f"{detector.version[:12]}: fit one on this detector with "
                "`e2x explain --fit-features`"
            )

    def save(self, path: Path) -> None:
        """Write an npz file, atomically."""
        files.write_bytes(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """The npz file."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            version=np.array(self.version),
            layers=np.array(self.layers),
            channels=np.array(self.channels, np.int64),
            weights=self.weights,
            mu=np.array(self.mu),
            num_boxes=np.array(self.num_boxes),
        )
        return buffer.getvalue()

    @classmethod
    def load(cls, path: Path) -> FeatureModel:
        """The model that :meth:`save` wrote.

        Raises:
            ExplanationFailed: the file cannot be read or holds something else.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ExplanationFailed(f"{path}: no feature model ({error}); fit it again") from error
        return cls.of_bytes(data, str(path))

    @classmethod
    def of_bytes(cls, data: bytes, where: str) -> FeatureModel:
        """What :meth:`to_bytes` gave; errors as of :meth:`load`, they name ``where``."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as held:
                return cls(
                    version=str(held["version"]),
                    layers=tuple(str(name) for name in held["layers"]),
                    channels=tuple(int(count) for count in held["channels"]),
                    weights=held["weights"].astype(np.float32),
                    mu=float(held["mu"]),
                    num_boxes=int(held["num_boxes"]),
                )
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ExplanationFailed(f"{where}: no feature model ({error}); fit it again") from error


def layer_names(network: Network, inputs: torch.Tensor) -> tuple[str, ...]:
    """The layers whose channels are features, fine to coarse.

    The last activation at every resolution up to a stride of 32, then those feature maps up to
    that stride that are not themselves such an activation. Heads are left out.

    Args:
        network: hooked while it runs once.
        inputs: [1, 3, h, w]; only their size matters where layers differ.
    """
    names = [n for n, m in network.backbone.named_modules() if isinstance(m, ACTIVATIONS)]
    ran: dict[str, torch.Tensor] = {}
    with torch.no_grad(), _kept(network, names, ran):
        maps = network.maps(inputs)
    height = inputs.shape[2]
    fine = {n: out for n, out in ran.items() if height / out.shape[2] <= _COARSEST_STRIDE_PX}
    last = {tuple(out.shape[2:]): name for name, out in fine.items()}  # in the order they ran
    chosen = list(last.values())
    for level, feature_map in enumerate(maps):
        known = any(torch.equal(ran[name], feature_map) for name in last.values())
        if height / feature_map.shape[2] <= _COARSEST_STRIDE_PX and not known:
            chosen.append(_map_name(level))
    return tuple(chosen)


def activations(network: Network, names: Sequence[str], inputs: torch.Tensor) -> list[torch.Tensor]:
    """Outputs [B, C, fh, fw] of the named layers; differentiable; no hook is left behind."""
    ran: dict[str, torch.Tensor] = {}
    with _kept(network, [name for name in names if not name.startswith(_MAP)], ran):
        maps = network.maps(inputs)
    return [maps[level_of(n)] if n.startswith(_MAP) else ran[n] for n in names]


_MAP = "map "


def _map_name(level: int) -> str:
    return f"{_MAP}{level}"


def level_of(name: str) -> int:
    """Level of a feature map's name; -1 for other layers."""
    return int(name.removeprefix(_MAP)) if name.startswith(_MAP) else -1


@contextmanager
def _kept(network: Network, names: Sequence[str], into: dict[str, torch.Tensor]) -> Iterator[None]:
    """While it lasts, outputs of the named modules of the backbone are put into a mapping."""

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            into.pop(name, None)  # a layer that runs twice counts as run last
            into[name] = output.clone()  # what follows may work in place

        return hook

    with ExitStack() as stack:
        for name in names:
            module = network.backbone.get_submodule(name)
            stack.callback(module.register_forward_hook(keep(name)).remove)
        yield


def cells(box_shares: Sequence[float], size_hw: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a map that a box touches, at least one of each.

    Args:
        box_shares: x1, y1, x2, y2 as shares of the image's sides.
        size_hw: of the map.
    """
    found = []
    for low, high, size in (
        (box_shares[1], box_shares[3], size_hw[0]),
        (box_shares[0], box_shares[2], size_hw[1]),
    ):
        start = min(max(math.floor(low * size), 0), size - 1)
        found.append(slice(start, min(max(math.ceil(high * size), start + 1), size)))
    return found[0], found[1]


def responses(maps: Sequence[torch.Tensor], boxes_shares: _Matrix) -> _Matrix:
    """Features [N, F] float64 of N boxes: the L2 norm of each channel inside the box.

    The part of each layer is divided by its sum, so that every layer weighs the same.

    Args:
        maps: [1, C, fh, fw] a layer.
        boxes_shares: [N, 4] xyxy as shares of the image's sides.
    """
    parts = []
    for feature_map in maps:
        values = feature_map[0].detach().double().cpu().numpy()  # [C, fh, fw]
        norms = np.empty((len(boxes_shares), len(values)))
        for row, box in enumerate(boxes_shares):
            rows, columns = cells(box, values.shape[1:])
            norms[row] = np.sqrt((values[:, rows, columns] ** 2).sum(axis=(1, 2)))
        total = norms.sum(axis=1, keepdims=True)
        parts.append(np.divide(norms, total, out=np.zeros_like(norms), where=total > 0))
    return np.concatenate(parts, axis=1)


def shares(boxes_xyxy: FloatArray, image: ImageArray) -> _Matrix:
    """Boxes [N, 4] in px of an image as shares of its sides."""
    height, width = image.shape[:2]
    return boxes_xyxy.astype(np.float64) / (width, height, width, height)


def fit(
    detector: Detector,
    images: Sequence[ImageArray],
    boxes_xyxy: Sequence[FloatArray],
    labels: Sequence[IntArray],
    mu: float = MU,
    missed: Sequence[BoolArray] | None = None,
) -> FeatureModel:
    """Learn which channels tell the classes apart, one forward pass an image.

    Args:
        detector: shows its layers; left as it was.
        images: [H, W, 3] uint8 each.
        boxes_xyxy: [N, 4] px of each image: its objects, or boxes of background.
        labels: [N] in 0..K-1 of each image.
        mu: largest sum of absolute weights of a class.
        missed: [N] of each image, the objects that the detector did not find: they become one
            more label, so that its channels are those that set missed objects apart.

    Raises:
        ExplanationFailed: the detector does not show its layers, or there is no box.

    Source:
        Oramas et al., "Visual explanation by interpretation", ICLR 2019, section 3.1. They
        describe whole images and solve with SPGL1; we describe boxes and solve exactly.
    """
    if not sum(map(len, labels)):
        raise ExplanationFailed("no box to learn features from: give images with objects")
    parts = [describe(detector, image, b) for image, b in zip(images, boxes_xyxy, strict=True)]
    return fitted(
        detector,
        parts[0].layers,
        parts[0].channels,
        np.concatenate([part.rows for part in parts]),
        np.concatenate(labels),
        None if missed is None else np.concatenate(missed),
        mu,
    )


class Described(NamedTuple):
    """Features of the boxes of one image."""

    layers: tuple[str, ...]
    channels: tuple[int, ...]
    """Of each layer; F is their sum."""
    rows: _Matrix
    """[N, F]."""


def describe(detector: Detector, image: ImageArray, boxes_xyxy: FloatArray) -> Described:
    """Features of boxes [N, 4] px of an image, for :func:`fitted`; one or two forward passes.

    Raises:
        ExplanationFailed: the detector does not show its layers.
    """
    network = layers_of(detector).copy()
    inputs = detector.preprocess([image])
    names = layer_names(network, inputs)
    with torch.no_grad():
        maps = activations(network, names, inputs)
    channels = tuple(int(one.shape[1]) for one in maps)
    return Described(names, channels, responses(maps, shares(boxes_xyxy, image)))


def fitted(
    detector: Detector,
    layers: tuple[str, ...],
    channels: tuple[int, ...],
    rows: _Matrix,
    labels: IntArray,
    missed: BoolArray | None = None,
    mu: float = MU,
) -> FeatureModel:
    """The sparse fit to features that were described before, of many images.

    Args:
        detector: of which they are.
        layers: see :class:`Described`.
        channels: the same.
        rows: [N, F].
        labels: [N] in 0..K-1.
        missed: [N], see :func:`fit`.
        mu: largest sum of absolute weights of a class.

    Raises:
        ExplanationFailed: there is no box.
    """
    if not len(labels):
        raise ExplanationFailed("no box to learn features from: give images with objects")
    count = layers_of(detector).num_classes
    wanted = (labels[:, None] == np.arange(count)).astype(np.float64)  # [N, K]
    if missed is not None:
        wanted = np.column_stack([wanted, missed])  # [N, K + 1]
    weights = solve(rows, wanted, mu).astype(np.float32)
    return FeatureModel(detector.version, layers, channels, weights, mu, len(labels))
