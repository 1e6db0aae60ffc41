"""Explanation methods behind one protocol, by name.

>>> from curation import explain
>>> explainer = explain.get("e2x", num_samples=16)

A new method is one file that implements :class:`~curation.explain.base.Explainer` and one line
in the table below. Read :mod:`curation.explain.e2x` first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from curation.detector import ScoreKind
from curation.explain.base import Explainer
from curation.explain.e2x import E2X
from curation.explain.integrated_gradients import IntegratedGradients
from curation.explain.random import RandomAttribution

__all__ = [
    "E2X",
    "Explainer",
    "IntegratedGradients",
    "RandomAttribution",
    "accepted",
    "get",
    "names",
]

_METHODS: dict[str, Callable[..., Explainer]] = {
    E2X.name: E2X,
    IntegratedGradients.name: IntegratedGradients,
    RandomAttribution.name: RandomAttribution,
}


def names() -> tuple[str, ...]:
    """Names of the methods, sorted."""
    return tuple(sorted(_METHODS))


def accepted(name: str, offered: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the offered parameters that the method of that name takes.

    Raises:
        ValueError: no method has this name.
    """
    taken = inspect.signature(_method(name)).parameters
    return {key: value for key, value in offered.items() if key in taken}


def get(name: str, **parameters: Any) -> Explainer:
    """The method of that name with these parameters; ``kind`` may be given by its name.

    Raises:
        ValueError: no method has this name, or a parameter has a value it does not take.
        TypeError: the method has no such parameter.
    """
    method = _method(name)
    if "kind" in parameters:
        parameters["kind"] = ScoreKind(parameters["kind"])
    return method(**parameters)


def _method(name: str) -> Callable[..., Explainer]:
    if name not in _METHODS:
        raise ValueError(f"no explanation method {name!r}; there are {', '.join(names())}")
    return _METHODS[name]
