"""Training of the network: resumable, and the same for the same examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from curation.kernel.errors import GeneratorUnusable
from curation.kernel.types import BoolArray, ImageArray
from curation.synthesis.bridge import checkpoint
from curation.synthesis.bridge.examples import Examples
from curation.synthesis.bridge.network import (
    NOISE_STEPS,
    BridgeNetwork,
    NetworkSize,
    context_of,
    fold,
    fold_mask,
    noise_schedule,
)

BESIDE = 0.1
"""Weight of what lies beside the hole: it is put back, but what fits it must be learned from it."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How it is trained.

    Attributes:
        steps: in all; a later call with more of them goes on.
        batch: windows a step.
        learning_rate: of AdamW, after the warm-up.
        warm_up: steps over which it rises.
        average: decay of the weights' running average, which draws.
        hide_composite: share of windows whose composite is hidden, or it would be copied and what
            hurt ignored.
        hide_vector: share whose region vector is hidden, for guidance.
        save_every: steps between checkpoints.
        seed: of first weights and of all draws.
    """

    steps: int = 20_000
    batch: int = 16
    learning_rate: float = 2e-4
    warm_up: int = 200
    average: float = 0.999
    hide_composite: float = 0.5
    hide_vector: float = 0.15
    save_every: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.save_every) < 1 or self.learning_rate <= 0:
            raise ValueError("steps, batch, save_every and learning_rate must be above 0")
        shares = (self.hide_composite, self.hide_vector, self.average)
        if not all(0 <= share <= 1 for share in shares):
            raise ValueError("hide_composite, hide_vector and average must lie in 0..1")

    @property
    def decides(self) -> dict[str, float]:
        """All that the weights after a step depend on."""
        rest = ("steps", "save_every")
        return {key: value for key, value in asdict(self).items() if key not in rest}


def train(
    examples: Examples,
    folder: Path,
    size: NetworkSize,
    recipe: Recipe | None = None,
    device: str = "",
    progress: Callable[[int, int, float], None] = lambda step, steps, loss: None,
    enough: Callable[[], bool] = lambda: False,
) -> str:
    """Train, or go on with what was begun in the folder.

    A step depends on seed, number and what is saved, and on nothing else: killed and begun again it
    gives the same weights (on one kind of device with one number of threads).

    Args:
        examples: see ``examples.prepare``.
        folder: of the weights; made where it is missing.
        size: of the network.
        recipe: see :class:`Recipe`.
        device: "cpu", "cuda"; "": a GPU where there is one.
        progress: is told the step, how many there are, and its loss.
        enough: asked before each step; where it says so, what is done is saved and training ends.

    Returns:
        Hash of the weights that draw.

    Raises:
        ValueError: the examples do not fit the network.
        GeneratorUnusable: the folder holds training with other examples, size or recipe, or is
            damaged; or training diverged: what was saved before is kept.
    """
    recipe = recipe or Recipe()
    _require_fitting(examples, size)
    begun = checkpoint.About(examples.digest, examples.encoder, size, recipe.decides, 0)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = BridgeNetwork(size).to(where)
    state = checkpoint.State.begun(network, recipe.learning_rate)
    step = checkpoint.resume(folder, begun, state)
    schedule = noise_schedule()
    while step < recipe.steps and not enough():
        loss = _step(state, examples, recipe, schedule, step)
        if not np.isfinite(loss):
            raise GeneratorUnusable(
                f"training diverged at step {step + 1}: lower learning_rate; what was saved every "
                f"{recipe.save_every} steps is kept in {folder}"
            )
        step += 1
        if step % recipe.save_every == 0 or step == recipe.steps:
            checkpoint.save(folder, begun.at(step), state)
        progress(step, recipe.steps, loss)
    if step < recipe.steps and not (step and step % recipe.save_every == 0):
        checkpoint.save(folder, begun.at(step), state)
    return checkpoint.digest(folder)


def _require_fitting(examples: Examples, size: NetworkSize) -> None:
    side, width = examples.pixels.shape[1], examples.vectors.shape[2]
    if (side, width) != (size.side_px, size.vector_width):
        raise ValueError(
            f"examples of {side} px with vectors of {width}, a network for {size.side_px} px and "
            f"{size.vector_width}"
        )
    if int(examples.labels.max()) >= size.num_classes:
        raise ValueError(f"class {int(examples.labels.max())} of {size.num_classes}")


def _step(
    state: checkpoint.State, examples: Examples, recipe: Recipe, schedule: Any, step: int
) -> float:
    device = next(state.network.parameters()).device
    batch = draw_batch(examples, recipe, step)
    real = fold(batch.pixels.to(device))
    hole = fold_mask(batch.hole.to(device))
    context = context_of(
        real,
        fold(batch.composite.to(device)),
        hole,
        fold_mask(batch.boxes.to(device)),
        batch.given.to(device),
    )
    noise, times = batch.noise.to(device), batch.times.to(device)
    noisy = schedule.add_noise(real, noise, times)
    wanted = schedule.get_velocity(real, noise, times)
    told = (batch.vectors.to(device), batch.labels.to(device), batch.told.to(device))
    velocity = state.network(noisy, times, context, *told)
    weight = (hole + BESIDE * (1 - hole)) * fold_mask(batch.inside.to(device))
    weight = weight.repeat(1, 3, 1, 1)
    loss = (weight * (velocity - wanted) ** 2).sum() / weight.sum().clamp_min(1)
    for group in state.optimiser.param_groups:
        group["lr"] = recipe.learning_rate * min(1.0, (step + 1) / max(1, recipe.warm_up))
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
    if not torch.isfinite(norm):  # before it reaches the weights, which may be saved next
        return float("nan")
    state.optimiser.step()
    state.follow(min(recipe.average, (step + 1) / (step + 10)))
    return float(loss.detach())


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One step's windows: B of them, s px a side; see ``network`` for what each is for.

    Attributes:
        pixels: [B, s, s, 3] uint8.
        composite: likewise, the hole filled as roughly as a composite fills it.
        inside: [B, s, s] bool, not padding.
        boxes: [B, s, s] bool.
        hole: [B, s, s] bool.
        vectors: [B, V] float32.
        labels: [B] int64.
        given: [B] bool, whether the composite is shown.
        told: [B] bool, whether the vector is.
        times: [B] int64.
        noise: [B, 12, s / 2, s / 2] float32.
    """

    pixels: torch.Tensor
    composite: torch.Tensor
    inside: torch.Tensor
    boxes: torch.Tensor
    hole: torch.Tensor
    vectors: torch.Tensor
    labels: torch.Tensor
    given: torch.Tensor
    told: torch.Tensor
    times: torch.Tensor
    noise: torch.Tensor


def draw_batch(examples: Examples, recipe: Recipe, step: int) -> Batch:
    """What a step is trained on: a function of seed and step."""
    rng = np.random.default_rng([recipe.seed, step])
    rows = rng.integers(len(examples), size=recipe.batch)
    which = rng.integers(examples.holes.shape[1], size=recipe.batch)
    turned = rng.random(recipe.batch) < 0.5
    pixels, hole = examples.pixels[rows], examples.holes[rows, which]
    rough = np.stack([_rough(one, mask, rng) for one, mask in zip(pixels, hole, strict=True)])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    side = examples.pixels.shape[1] // 2
    return Batch(
        pixels=_turned(pixels, turned),
        composite=_turned(rough, turned),
        inside=_turned(examples.inside[rows], turned),
        boxes=_turned(examples.boxes[rows], turned),
        hole=_turned(hole, turned),
        vectors=torch.from_numpy(examples.vectors[rows, which]),
        labels=torch.from_numpy(examples.labels[rows]),
        given=torch.from_numpy(rng.random(recipe.batch) >= recipe.hide_composite),
        told=torch.from_numpy(rng.random(recipe.batch) >= recipe.hide_vector),
        times=torch.from_numpy(rng.integers(NOISE_STEPS, size=recipe.batch)),
        noise=torch.randn(recipe.batch, 12, side, side, generator=generator),
    )


def _turned(array: ImageArray | BoolArray, turned: BoolArray) -> torch.Tensor:
    """Some of the windows seen in a mirror."""
    shape = (-1, *(1,) * (array.ndim - 1))
    return torch.from_numpy(np.where(turned.reshape(shape), array[:, :, ::-1], array).copy())


def _rough(pixels: ImageArray, hole: BoolArray, rng: np.random.Generator) -> ImageArray:
    """As a composite looks: what is in the hole at another place and scale, with a seam.

    Its colours stay: taught to mend colours, a network pulls towards the usual, and what hurt is
    rare.
    """
    side = len(pixels)
    scale, shift = rng.uniform(0.8, 1.25), rng.uniform(-side / 8, side / 8, 2)
    middle = side / 2
    move = np.array(
        [
            [scale, 0, shift[0] + middle * (1 - scale)],
            [0, scale, shift[1] + middle * (1 - scale)],
        ],
        np.float32,
    )
    moved = cv2.warpAffine(pixels, move, (side, side), borderMode=cv2.BORDER_REFLECT)
    return np.where(hole[..., None], moved, pixels).astype(np.uint8)
