"""What a method costs before it runs: passes, counted from its numbers; no network is loaded.

The numbers repeat the methods' own, so that a process that only shows them need not hold PyTorch;
a test compares them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

BACKWARD = 2
"""A pass back costs about as much as two forward."""
MOST_EXACT = 14
"""Superpixels that exact Shapley values take."""


class Size(NamedTuple):
    """What a method is run on."""

    segments: int
    """S, superpixels asked for."""
    height_px: int
    """Of the network's input."""
    width_px: int


NUMBERS: Mapping[str, Mapping[str, int]] = {
    "crp": {},
    "d_close": {"num_masks": 4000},
    "d_rise": {"num_masks": 2000},
    "e2x": {"num_samples": 32},
    "exact_shapley": {},
    "fgvis": {"num_steps": 60},
    "g_came": {},
    "gp_shap": {"num_samples": 128},
    "grad_cam": {},
    "guided_backprop": {},
    "integrated_gradients": {"num_samples": 32},
    "integrated_gradients_segments": {"num_samples": 32},
    "kernel_shap": {"num_samples": 320},
    "leverage_shap": {"num_samples": 320},
    "lime": {"num_samples": 1000},
    "lrp": {},
    "occlusion": {"window_px": 24, "stride_px": 12},
    "odam": {},
    "pda": {"stride_px": 8, "num_draws": 10},
    "permutation_shap": {"num_samples": 1024},
    "ramped": {"num_samples": 256},
    "random": {},
    "vebi": {"num_features": 10},
    "vx_code": {"max_patches": 100, "group": 1, "candidates": 30},
}
"""The numbers of each method that its cost depends on, with their values where nothing is said."""
LAYERS = frozenset({"crp", "fgvis", "g_came", "grad_cam", "guided_backprop", "lrp", "odam", "vebi"})
"""Those that look at layers: they explain classes only, but for CRP."""


def _windows(numbers: Mapping[str, int], size: Size) -> int:
    step = numbers["stride_px"]
    return math.ceil(size.height_px / step) * math.ceil(size.width_px / step)


def _searched(numbers: Mapping[str, int]) -> int:
    """Greedily chosen patches, the first tenth of them in groups where groups are asked for."""
    count, group = numbers["max_patches"], numbers["group"]
    singles = count * (count + 1) // 2
    if group == 1:
        return singles
    grouped = -(-count // 10)
    return singles + grouped * (math.comb(numbers["candidates"], group) + group * 6)


_SWEEP = 1 + BACKWARD
_PASSES: Mapping[str, Callable[[Mapping[str, int], Size, int], int]] = {
    "crp": lambda n, s, t: 1 + 2 * BACKWARD * t,
    "d_close": lambda n, s, t: n["num_masks"],
    "d_rise": lambda n, s, t: n["num_masks"],
    "exact_shapley": lambda n, s, t: 2**s.segments,
    "fgvis": lambda n, s, t: n["num_steps"] * _SWEEP * t,
    "g_came": lambda n, s, t: 1 + _SWEEP * t,
    "grad_cam": lambda n, s, t: 1 + _SWEEP * t,
    "guided_backprop": lambda n, s, t: _SWEEP * t,
    "lrp": lambda n, s, t: 1 + BACKWARD * t,
    "occlusion": lambda n, s, t: _windows(n, s),
    "odam": lambda n, s, t: 1 + _SWEEP * t,
    "pda": lambda n, s, t: _windows(n, s) * n["num_draws"] * t,
    "random": lambda n, s, t: 2,
    "vebi": lambda n, s, t: 1 + n["num_features"] * BACKWARD * t,
    "vx_code": lambda n, s, t: _searched(n) * t,
}
_BACK = frozenset({"e2x", "ramped", "integrated_gradients", "integrated_gradients_segments"})


FITTED = frozenset({"vebi"})
"""Those that compare with features that were fitted to other images beforehand."""


def why_not(method: str, size: Size, has_features: bool = False) -> str:
    """Why nobody is offered a method for a failure; nothing where it is offered.

    Args:
        method: its name.
        size: what it would be run on.
        has_features: whether features were fitted for the detector.
    """
    if method in FITTED and not has_features:
        return (
            "it needs features that were fitted to labelled images beforehand: "
            "`e2x explain --fit-features` fits them"
        )
    if method == "exact_shapley" and size.segments > MOST_EXACT:
        return (
            f"it takes at most {MOST_EXACT} superpixels, and explanation.num_segments is "
            f"{size.segments}: every one more doubles its cost"
        )
    return ""


def names() -> tuple[str, ...]:
    """Names of all methods, sorted."""
    return tuple(sorted(NUMBERS))


def offered(size: Size, has_features: bool = False) -> tuple[str, ...]:
    """Names of the methods that people may ask for, sorted; arguments as of :func:`why_not`."""
    return tuple(name for name in names() if not why_not(name, size, has_features))


def to_score(method: str, given: Mapping[str, Any], size: Size) -> int | None:
    """Images that are scored on the way, by which progress is told; None where layers are."""
    if method in LAYERS:
        return None
    if method in _BACK:
        return int(given.get("num_samples", NUMBERS[method]["num_samples"]))
    return passes(method, given, size)


def takes_samples(method: str) -> bool:
    """Whether the number of samples may be said."""
    return "num_samples" in NUMBERS.get(method, {})


def passes(method: str, given: Mapping[str, Any], size: Size, targets: int = 1) -> int | None:
    """Forward passes of one image that a method comes to, a pass back counted as two.

    Args:
        method: its name.
        given: parameters that differ from the method's own.
        size: what it is run on.
        targets: questions that are answered together.

    Returns:
        An upper bound for methods that stop early or mask the surroundings of a box only. None:
        it takes no so many superpixels, or is not known.
    """
    if method not in NUMBERS or (method == "exact_shapley" and size.segments > MOST_EXACT):
        return None
    numbers = {key: int(given.get(key, own)) for key, own in NUMBERS[method].items()}
    if method in _PASSES:
        return _PASSES[method](numbers, size, targets)
    samples = numbers["num_samples"]
    return samples * (1 + BACKWARD * targets) if method in _BACK else samples
