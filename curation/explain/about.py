"""What each method asks of a detector and what it costs, in a line: for people who choose one.

``README.md`` beside this file says more of each.
"""

from __future__ import annotations

from typing import NamedTuple

from curation import explain


class About(NamedTuple):
    """One method in short."""

    asks: str
    """``scores``: forward passes only; ``gradients`` of scores; ``layers`` of the network."""
    cost: str
    """In passes; S superpixels, K samples."""
    complete: bool = False
    """Whether the values promise to sum to the score minus the baseline's."""


UNCOMPARED: frozenset[str] = frozenset({"random", "exact_shapley"})
"""Left out where all are compared: noise, and a reference that takes few superpixels only."""

_ABOUT: dict[str, About] = {
    "crp": About("layers", "1 forward and 1 sweep back for each target and output"),
    "d_close": About("scores", "4000 forwards for all targets together"),
    "d_rise": About("scores", "2000 forwards for all targets together"),
    "e2x": About("gradients", "K = {K} forwards for all targets, K backwards for each"),
    "exact_shapley": About("scores", "2^S forwards, at most 14 superpixels", True),
    "fgvis": About("layers", "at most 60 forwards and backwards for each target"),
    "g_came": About("layers", "1 forward for all targets, a head forwards and back for each"),
    "gp_shap": About("scores", "{K} forwards for all targets together", True),
    "grad_cam": About("layers", "1 forward for all targets, a head forwards and back for each"),
    "guided_backprop": About("layers", "1 forward and 1 backward for each target"),
    "integrated_gradients": About(
        "gradients", "K = {K} forwards for all targets, K backwards for each", True
    ),
    "integrated_gradients_segments": About("gradients", "as integrated_gradients", True),
    "kernel_shap": About("scores", "{K} forwards for all targets together", True),
    "leverage_shap": About("scores", "{K} forwards for all targets together", True),
    "lime": About("scores", "{K} forwards for all targets together"),
    "lrp": About("layers", "1 forward and 1 sweep back for each target"),
    "occlusion": About("scores", "a forward a window, hundreds, for all targets together"),
    "odam": About("layers", "1 forward for all targets, a head forwards and back for each"),
    "pda": About("scores", "10 forwards a window, thousands for each target"),
    "permutation_shap": About("scores", "{K} forwards for all targets together", True),
    "ramped": About("gradients", "K = {K} forwards for all targets, K backwards for each"),
    "random": About("scores", "2 forwards; the control of experiments, explains nothing"),
    "vebi": About("layers", "1 forward for all targets, 10 backwards for each"),
    "vx_code": About("scores", "P (P + 1) / 2 forwards for each target, P = 100 patches at most"),
}


def about(name: str, num_samples: int | None = None) -> About:
    """The method of that name in short; what is not described asks for what it registered.

    Args:
        name: of the method.
        num_samples: what its cost is told for; None: its own number.
    """
    fallback = About("layers" if explain.needs_layers(name) else "scores", "")
    found = _ABOUT.get(name, fallback)
    samples = num_samples or explain.default(name, "num_samples")
    return found._replace(cost=found.cost.replace("{K}", str(samples)))


def described() -> frozenset[str]:
    """Names that have a description."""
    return frozenset(_ABOUT)
