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
    """In passes; D targets of one image, S superpixels, K samples."""
    complete: bool = False
    """Whether the values promise to sum to the score minus the baseline's."""


CONTROLS: frozenset[str] = frozenset({"random"})
"""What experiments compare with; they explain nothing."""

_ABOUT: dict[str, About] = {
    "e2x": About("gradients", "K = 32 forwards, K backwards for each of D targets"),
    "integrated_gradients": About("gradients", "K = 32 forwards, K backwards for each of D", True),
    "integrated_gradients_segments": About("gradients", "as integrated_gradients", True),
    "random": About("scores", "2 forwards; the control of experiments, explains nothing"),
}


def about(name: str) -> About:
    """The method of that name in short; what is not described asks for what it registered."""
    fallback = About("layers" if explain.needs_layers(name) else "scores", "")
    return _ABOUT.get(name, fallback)


def described() -> frozenset[str]:
    """Names that have a description."""
    return frozenset(_ABOUT)
