"""An inpainting pipeline of diffusers, conditioned on a picture of what hurt."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch

from curation.kernel.errors import CurationError
from curation.kernel.types import FloatArray
from curation.synthesis.base import Drawn, Plan, Staged, Undrawn
from curation.synthesis.blend import named
from curation.synthesis.composite import BLENDING
from curation.synthesis.finish import finished, why_failed
from curation.synthesis.packages import require_packages, versions
from curation.synthesis.pipelines import references
from curation.synthesis.pipelines.families import Call, Canvas, Family, family_of
from curation.synthesis.pipelines.loading import draw, load, multiple, native_side
from curation.synthesis.pipelines.weights import Found, Source, find
from curation.synthesis.staging import stage
from curation.synthesis.window import Window

_CODE = 1
"""Counted up when the same plan would give other bytes than before."""
_LIBRARIES = ("diffusers", "transformers", "torch", "opencv-python-headless")
SIDES_PX = (64, 2048)


@dataclass(frozen=True, slots=True)
class Diffusers:
    """What fills the hole is drawn by the user's own weights; object and label stay.

    Args:
        model: folder of a pipeline as diffusers saves it, or its name on the hub.
        pipeline: class to load it as; "": what the folder says.
        adapter: folder or name of the IP-Adapter of SD and SDXL; "" for pipelines that take a
            reference image themselves.
        adapter_weight: its file, relative to that.
        adapter_encoder: folder of its image encoder, relative to that; "": the pipeline's own.
        variant: "fp16" and the like, where files have such a name.
        offline: whether only this machine's files are looked at.
        strength: in (0, 1]; how far from the composite it may go: 1 ignores it.
        steps: of denoising; ``steps * strength`` of them are done.
        guidance: by words and reference; 1 halves the time of SD and SDXL and leaves it out.
        adapter_scale: in 0..2, weight of the references.
        resolution: side in px of the square whose area the pipeline works at; 0: its own.
        prompt: about the surroundings. Not the class: it would be drawn again, without a label.
        negative_prompt: what is not wanted there.
        safety_checker: whether one that comes with the weights is used; a sample that it refuses
            is not drawn.
        device: "cpu", "cuda"; "": a GPU where there is one.
        offload: whether parts wait in main memory until they are used: slower, in less of a GPU.
        blending: of the seams of the composite.
    """

    model: str = ""
    pipeline: str = ""
    adapter: str = ""
    adapter_weight: str = "models/ip-adapter_sd15.safetensors"
    adapter_encoder: str = "models/image_encoder"
    variant: str = ""
    offline: bool = True
    strength: float = 0.5
    steps: int = 30
    guidance: float = 5.0
    adapter_scale: float = 0.8
    resolution: int = 0
    prompt: str = ""
    negative_prompt: str = ""
    safety_checker: bool = True
    device: str = ""
    offload: bool = False
    blending: str = BLENDING

    name: ClassVar[str] = "diffusers"
    invents: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1 or self.steps < 1 or self.steps * self.strength < 1:
            raise ValueError("strength must lie in (0, 1] and steps * strength be 1 at least")
        if not 0 <= self.adapter_scale <= 2 or self.guidance < 0:
            raise ValueError("adapter_scale must lie in 0..2 and guidance be 0 at least")
        if self.resolution and not SIDES_PX[0] <= self.resolution <= SIDES_PX[1]:
            raise ValueError(f"resolution must be 0 or lie in {SIDES_PX[0]}..{SIDES_PX[1]} px")
        named(self.blending)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that a sample depends on beside its plan and the weights."""
        return asdict(self)

    @property
    def version(self) -> str:
        """Hash of weights, class, library versions, kind of device and parameters.

        Raises:
            GeneratorUnusable: see :meth:`require_ready`.
        """
        found, family = self._found()
        # where the weights lie decides nothing
        places = ("model", "adapter", "adapter_weight", "adapter_encoder", "offline", "device")
        own = {key: value for key, value in self.parameters.items() if key not in places}
        kind = torch.device(self._device()).type
        told = [_CODE, found.digest(), family.pipeline, versions(*_LIBRARIES), kind, own]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def require_ready(self) -> None:
        """Whether it can draw here, short of loading the weights.

        Raises:
            GeneratorUnusable: packages or weights are missing, or the pipeline takes no picture of
                what hurt; the message says what to do.
        """
        self._found()

    def draw(self, plans: Sequence[Plan]) -> Iterator[Drawn | Undrawn]:
        """One answer for each plan; see ``Generator.draw``.

        One at a time: memory is bounded, and a sample does not depend on its neighbours. What is
        loaded stays for the next call, see :func:`release`.

        Raises:
            GeneratorUnusable: see :meth:`require_ready`; nothing can be drawn then.
        """
        if not len(plans):
            return
        version, loaded = self.version, self._loaded()
        told = {**self.parameters, **self._origin(), "resolution": self._side(loaded.pipe)}
        for plan in plans:
            started = time.process_time()
            try:
                staged = stage(plan, named(self.blending), invents=True)
                image = finished(staged, self._filled(plan, staged, loaded))
            except CurationError as problem:
                yield Undrawn(plan, str(problem))
                continue
            except Exception as problem:  # whatever a pipeline raises costs this sample only
                yield Undrawn(plan, why_failed(problem))
                continue
            seconds = time.process_time() - started
            yield Drawn(plan, staged, image, self.name, version, told, seconds)

    def _filled(self, plan: Plan, staged: Staged, loaded: _Loaded) -> FloatArray:
        free = staged.keep < 1
        if not free.any():
            return staged.composite.astype(np.float32)
        seen = free.copy()
        x1, y1, x2, y2 = (round(float(side)) for side in staged.truth.boxes_xyxy[0])
        seen[max(0, y1) : y2, max(0, x1) : x2] = True
        window = Window.around(seen, self._side(loaded.pipe), multiple(loaded.pipe))
        canvas = Canvas(
            window.into(staged.composite),
            window.into_mask(free),
            references.of_harm(plan),
            references.of_object(plan),
        )
        call = Call(
            *(self.strength, self.steps, self.guidance, self.adapter_scale),
            *(self.prompt, self.negative_prompt),
        )
        drawn = draw(loaded.pipe, loaded.family, canvas, call, plan.seed)
        if drawn.shape != canvas.picture.shape:
            raise ValueError(f"the pipeline drew {drawn.shape} instead of {canvas.picture.shape}")
        return window.back(drawn, staged.base)

    def _found(self) -> tuple[Found, Family]:
        require_packages("diffusers", "transformers")
        source = Source(
            *(self.model, self.adapter, self.adapter_weight, self.adapter_encoder),
            *(self.variant, self.offline),
        )
        found = find(source)
        return found, family_of(self.pipeline or found.class_name, bool(self.adapter))

    def _loaded(self) -> _Loaded:
        found, family = self._found()
        return _load(
            *(found, family.pipeline, bool(self.adapter), self._device(), self.variant),
            *(self.safety_checker, self.offload, found.stamp()),
        )

    def _origin(self) -> dict[str, Any]:
        found, family = self._found()
        return {
            "pipeline": family.pipeline,
            "weights": found.digest(),
            "licence": found.licence,
            "libraries": versions(*_LIBRARIES),
            "device": self._device(),
        }

    def _device(self) -> str:
        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")

    def _side(self, pipe: Any) -> int:
        return self.resolution or native_side(pipe)


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    pipe: Any
    family: Family


@lru_cache(maxsize=1)  # loading takes longer than drawing; two would not fit into one GPU
def _load(
    found: Found,
    class_name: str,
    adapter: bool,
    device: str,
    variant: str,
    checker: bool,
    offload: bool,
    stamp: tuple[tuple[str, int, int], ...],
) -> _Loaded:
    """``stamp`` is of the files: other weights at the same place are loaded anew."""
    family = family_of(class_name, adapter)
    return _Loaded(load(family, found, device, variant, checker, offload), family)


def release() -> None:
    """Give back the memory of the pipeline that was loaded last."""
    _load.cache_clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
