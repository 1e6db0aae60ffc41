"""Methods at equal cost: forward passes, a backward pass counted by its measured price."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from curation import explain
from curation.explain.base import Explainer, input_gradients, rows_per_pass
from curation.kernel.detector import ScoreKind
from curation.kernel.types import ScoreTarget
from retrain.detector import SsdDetector

OURS = "gp_shap"
RIVALS = ("e2x", "kernel_shap", "leverage_shap", "lime")
OTHERS = ("ramped", "integrated_gradients_segments", "permutation_shap")
ROUGH = "gp_shap, neighbours apart"
"""Ours without the belief that neighbours of one colour do alike."""
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {ROUGH: (OURS, {"smooth": False})}
"""Labels of methods under other parameters than the default's."""
GRADIENT = ("e2x", "ramped", "integrated_gradients_segments", "integrated_gradients")


def at_cost(name: str, cost: int, price: float, segments: int, **given: Any) -> Explainer | None:
    """A method that may spend ``cost`` forward passes on one detection; None where it cannot.

    Args:
        name: in the registry, or a label of :data:`VARIANTS`.
        cost: forward-equivalents.
        price: of a backward pass, in forward passes.
        segments: S; one pair of permutations takes 2 S passes.
        **given: further parameters.
    """
    name, own = VARIANTS.get(name, (name, {}))
    if not known(name) or (name == "permutation_shap" and 2 * segments > cost):
        return None
    samples = max(2, round(cost / (1 + price))) if name in GRADIENT else cost
    return explain.get(name, num_samples=samples, **own, **given)


def known(name: str) -> bool:
    """Whether the registry has a method of that name."""
    return name in explain.names()


def clock(device: torch.device) -> float:
    """Seconds of this process on a CPU, which other processes do not disturb; else wall clock."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def backward_price(
    detector: SsdDetector, target: ScoreTarget, repeats: int = 7
) -> dict[str, float]:
    """Seconds of a forward pass, and of a backward pass in units of it; medians, one target."""
    shape = (3, *detector.input_size_hw)
    rows = rows_per_pass(torch.empty(1, *shape, device=detector.device))
    inputs = torch.rand(rows, *shape, device=detector.device) - 0.5

    def forward() -> None:
        with torch.inference_mode():
            detector.scores(inputs, [target], ScoreKind.LOG_ODDS)

    def both() -> None:
        leaf = inputs.clone().requires_grad_(True)
        list(input_gradients(detector, leaf, [target], ScoreKind.LOG_ODDS))

    seconds = {
        "forward": _seconds(forward, repeats, detector),
        "both": _seconds(both, repeats, detector),
    }
    forward_s = seconds["forward"] / rows
    return {"forward_s": forward_s, "backward": seconds["both"] / seconds["forward"] - 1}


def _seconds(work: Callable[[], None], repeats: int, detector: SsdDetector) -> float:
    work()
    taken = []
    for _ in range(repeats):
        start = clock(detector.device)
        work()
        taken.append(clock(detector.device) - start)
    return statistics.median(taken)
