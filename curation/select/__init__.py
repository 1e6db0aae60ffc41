"""Which pool images to label: policies behind one protocol.

Read ``base`` for the protocol, ``e2x`` for the one that uses explanations; the others are its
rivals.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from curation.select.base import (
    Budget,
    Candidate,
    Look,
    Match,
    ModeQuery,
    Need,
    Policy,
    PoolImage,
    RegionSearch,
    SelectionRequest,
)
from curation.select.core_set import CoreSetSelection, KMeansSelection
from curation.select.coverage_neighbours import CoverageNeighboursSelection
from curation.select.e2x import E2XSelection
from curation.select.entropy import EntropySelection
from curation.select.novelty import KnownObjects
from curation.select.ppal import PpalSelection
from curation.select.random import RandomSelection
from curation.select.talisman import TalismanSelection
from curation.select.whole_image import WholeImageSelection

__all__ = [
    "Budget",
    "Candidate",
    "KnownObjects",
    "Look",
    "Match",
    "ModeQuery",
    "Need",
    "Policy",
    "PoolImage",
    "RegionSearch",
    "SelectionRequest",
    "configured",
    "get",
    "names",
]

_POLICIES: dict[str, Callable[..., Policy]] = {
    "core_set": CoreSetSelection,
    "coverage_neighbours": CoverageNeighboursSelection,
    "e2x": E2XSelection,
    "entropy": EntropySelection,
    "entropy_sum": partial(EntropySelection, aggregate="sum"),
    "k_means": KMeansSelection,
    "ppal": PpalSelection,
    "random": RandomSelection,
    "talisman": TalismanSelection,
    "whole_image": WholeImageSelection,
}


def names() -> tuple[str, ...]:
    """Names of all policies, sorted."""
    return tuple(sorted(_POLICIES))


def get(name: str, **parameters: Any) -> Policy:
    """The policy of that name.

    Args:
        name: one of ``names()``.
        parameters: of the policy's class.

    Raises:
        ValueError: no such policy.
    """
    if name not in _POLICIES:
        raise ValueError(f"no selection policy {name!r}; there are {', '.join(names())}")
    return _POLICIES[name](**parameters)


def configured(name: str, **settings: Any) -> Policy:
    """The policy of that name with those of the settings that it says it ``takes``.

    Args:
        name: one of ``names()``.
        settings: of a project, by the name of a policy's attribute.

    Raises:
        ValueError: no such policy.
    """
    takes: frozenset[str] = getattr(_POLICIES.get(name), "takes", frozenset())
    return get(name, **{key: value for key, value in settings.items() if key in takes})
