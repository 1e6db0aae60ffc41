"""The hole filled by the project's own network, from the composite and the vectors of what hurt."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from curation.kernel.detector import Encoder
from curation.kernel.errors import CurationError, DrawingFailed, GeneratorUnusable
from curation.kernel.types import FloatArray
from curation.synthesis.base import Drawn, Plan, Staged, Undrawn
from curation.synthesis.blend import named
from curation.synthesis.bridge import checkpoint, verdict
from curation.synthesis.bridge.examples import region_vectors
from curation.synthesis.bridge.network import (
    FOLD,
    BridgeNetwork,
    context_of,
    fold,
    fold_mask,
    noise_schedule,
    unfold,
)
from curation.synthesis.composite import BLENDING
from curation.synthesis.finish import finished, why_failed
from curation.synthesis.packages import require_packages, versions
from curation.synthesis.staging import stage
from curation.synthesis.window import Window

_CODE = 1
"""Counted up when the same plan would give other bytes than before."""
_LIBRARIES = ("diffusers", "torch", "opencv-python-headless")


@dataclass(frozen=True, slots=True)
class Bridge:
    """A diffusion bridge from composite to picture.

    Args:
        folder: of trained weights, see ``training.train``.
        encoder: the one that the weights were trained with; without it the plan's own region
            vectors are taken.
        unproven: draw although the weights have no verdict that passes.
        proven: what was measured of the weights; None: what ``verdict.json`` beside them says.
        strength: in (0, 1]; how far from the composite it may go: 1 starts from noise alone.
        steps: of denoising; ``steps * strength`` of them are done.
        guidance: by the region vectors, 1 at least; 1 halves the time and only tells them.
        hide_composite: whether the network is not shown what the composite has in the hole; with a
            strength of 1 the region vectors alone say what hurt.
        device: "cpu", "cuda"; "": a GPU where there is one.
        blending: of the seams of the composite.
    """

    folder: str = ""
    encoder: Encoder | None = field(default=None, repr=False)
    unproven: bool = False
    proven: verdict.Verdict | None = field(default=None, repr=False)
    strength: float = 0.6
    steps: int = 20
    guidance: float = 2.0
    hide_composite: bool = False
    device: str = ""
    blending: str = BLENDING

    name: ClassVar[str] = "bridge"
    invents: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1 or self.steps < 1 or self.steps * self.strength < 1:
            raise ValueError("strength must lie in (0, 1] and steps * strength be 1 at least")
        if self.guidance < 1:
            raise ValueError("guidance must be 1 at least")
        named(self.blending)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that a sample depends on beside its plan and the weights."""
        told = ("folder", "unproven", "strength", "steps", "guidance", "hide_composite")
        return {name: getattr(self, name) for name in (*told, "device", "blending")}

    @property
    def version(self) -> str:
        """Hash of weights, library versions, kind of device and parameters.

        Raises:
            GeneratorUnusable: see :meth:`require_ready`.
        """
        places = ("folder", "unproven", "device")
        own = {key: value for key, value in self.parameters.items() if key not in places}
        kind = torch.device(self._device()).type
        told = [_CODE, self._digest(), versions(*_LIBRARIES), kind, own]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def require_ready(self) -> None:
        """Whether it may draw.

        Raises:
            GeneratorUnusable: it is not trained, was trained with another encoder, or its weights
                have not passed bars G1 and G6 and ``unproven`` is false.
        """
        digest = self._digest()
        about, _ = checkpoint.read(Path(self.folder), "no tensor")
        if self.encoder is not None and self.encoder.version != about.encoder:
            raise GeneratorUnusable(
                f"{self.folder} was trained with vectors of another encoder: train it again"
            )
        if self.unproven:
            return
        found = self.proven or verdict.read_verdict(Path(self.folder))
        why = found.why_not(digest) if found else "nothing was measured of it"
        if why:
            raise GeneratorUnusable(
                f"the network in {self.folder} is not relied on: {why}. It must pass bars G1 (it "
                "follows what hurt) and G6 (it repairs as well as composition): see `e2x "
                "synthesis generators`. Take the generator compose, or set unproven = true among "
                "`synthesis.parameters` to draw with it all the same"
            )

    def draw(self, plans: Sequence[Plan]) -> Iterator[Drawn | Undrawn]:
        """One answer for each plan, one at a time; see ``Generator.draw``.

        Raises:
            GeneratorUnusable: see :meth:`require_ready`; nothing can be drawn then.
        """
        if not len(plans):
            return
        self.require_ready()
        version = self.version
        about, network = _loaded(self.folder, self._device(), self._digest())
        told = {
            **self.parameters,
            "weights": self._digest(),
            "trained": asdict(about),
            "libraries": versions(*_LIBRARIES),
        }
        for plan in plans:
            started = time.process_time()
            try:
                staged = stage(plan, named(self.blending), invents=True)
                image = finished(staged, self._filled(plan, staged, about, network))
            except CurationError as problem:
                yield Undrawn(plan, str(problem))
                continue
            except Exception as problem:  # whatever a network raises costs this sample only
                yield Undrawn(plan, why_failed(problem))
                continue
            seconds = time.process_time() - started
            yield Drawn(plan, staged, image, self.name, version, told, seconds)

    def _filled(
        self, plan: Plan, staged: Staged, about: checkpoint.About, network: BridgeNetwork
    ) -> FloatArray:
        free = staged.keep < 1
        if not free.any():
            return staged.composite.astype(np.float32)
        box = np.zeros(free.shape, np.bool_)
        if staged.row is not None:
            x1, y1, x2, y2 = (round(float(side)) for side in staged.truth.boxes_xyxy[staged.row])
            box[max(0, y1) : y2, max(0, x1) : x2] = True
        window = Window.square(free | box, about.size.side_px)
        device = next(network.parameters()).device

        def tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
            return torch.from_numpy(array)[None].to(device)

        composite = fold(tensor(window.into(staged.composite)))
        hole = fold_mask(tensor(window.into_mask(free)))
        given = torch.tensor([not self.hide_composite], device=device)
        boxes = fold_mask(tensor(window.into_mask(box)))
        context = context_of(composite, composite, hole, boxes, given)
        vector = tensor(self._vector(plan, about.size.vector_width))
        label = plan.donor.label if staged.row is not None else 0
        if label >= about.size.num_classes:
            raise DrawingFailed(f"the network was not trained with class {label}: train it again")
        labels = torch.full((1,), label, device=device)
        drawn = self._denoised(network, composite, context, vector, labels, plan.seed)
        return window.back(unfold(drawn)[0].cpu().numpy(), staged.base)

    @torch.inference_mode()
    def _denoised(
        self,
        network: BridgeNetwork,
        start: torch.Tensor,
        context: torch.Tensor,
        vector: torch.Tensor,
        labels: torch.Tensor,
        seed: int,
    ) -> torch.Tensor:
        schedule = noise_schedule()
        schedule.set_timesteps(self.steps, device=start.device)
        times = schedule.timesteps[-max(1, round(self.steps * self.strength)) :]
        # on the CPU whatever the device: the same seed is the same noise everywhere
        generator = torch.Generator("cpu").manual_seed(seed)
        side = context.shape[-1]
        noise = torch.randn(1, 3 * FOLD**2, side, side, generator=generator).to(start.device)
        noisy: torch.Tensor = schedule.add_noise(start, noise, times[:1])
        told = torch.tensor([True], device=start.device)
        for now in times:
            velocity = network(noisy, now[None], context, vector, labels, told)
            if self.guidance > 1:
                blind = network(noisy, now[None], context, vector, labels, ~told)
                velocity = blind + self.guidance * (velocity - blind)
            noisy = schedule.step(velocity, now, noisy, eta=0.0).prev_sample
        return noisy

    def _vector(self, plan: Plan, width: int) -> FloatArray:
        harm = plan.harm
        if self.encoder is not None and harm.mask.any():
            features = self.encoder.encode([harm.pixels])[0]
            return np.asarray(region_vectors(features, harm.mask[None])[0], np.float32)
        if harm.vector is None or harm.vector.shape != (width,):
            raise DrawingFailed(
                f"what hurt in {harm.image} has no region vector of length {width}: give the "
                f"encoder that the network was trained with"
            )
        length = max(float(np.linalg.norm(harm.vector)), 1e-12)
        return np.asarray(harm.vector / length, np.float32)

    def _digest(self) -> str:
        require_packages("diffusers")
        if not self.folder:
            raise GeneratorUnusable("no weights were named: give `folder`, see e2x synthesis train")
        file = Path(self.folder) / checkpoint.FILE
        if not file.is_file():
            return checkpoint.digest(Path(self.folder))  # says that nothing is there
        about = file.stat()
        return _digest(self.folder, about.st_size, about.st_mtime_ns)

    def _device(self) -> str:
        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")


@lru_cache(maxsize=2)  # a file of this size and time is read once
def _digest(folder: str, size: int, changed_ns: int) -> str:
    return checkpoint.digest(Path(folder))


@lru_cache(maxsize=1)
def _loaded(folder: str, device: str, digest: str) -> tuple[checkpoint.About, BridgeNetwork]:
    """Other weights at the same place have another ``digest`` and are loaded anew."""
    about, network = checkpoint.drawing(Path(folder))
    return about, network.to(device)
