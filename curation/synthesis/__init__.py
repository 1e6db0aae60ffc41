"""Making the missing sample: a known object in the surroundings in which another was missed.

What the pool lacks can be made of two things that the loop has: labelled objects that the champion
finds, and the surroundings that made it miss others. The object keeps its pixels and its box, its
surroundings become what hurt; so labels are exact. ::

    harms_of(misses, donors, ...)       which pixels around a missed object, moved around known
                                        ones, make the champion miss them too: ``transplant``
    pool_harms(found, donors, ...)      the same in pixels of the unlabelled pool
    Harm(pixels, mask, box, truth)      that, as the source of samples
    plan(request) -> [Plan]             modes x budget; seeded; no picture gives too much
    get("compose").draw(plans)          -> Drawn or Undrawn, one for each plan, in their order
    check(drawn, context) -> [Judged]   a table of rows for each; kept if none fails
    draw(plans, generator, context)     the last two, in batches
    decide(samples, budget, ...)        whether a mode's samples reproduce more than its controls,
                                        and which of them are kept

A generator takes a plan, calls :func:`~curation.synthesis.staging.stage` and finishes what that
gives: ``composite`` is where it starts, ``hole`` is what it may fill, ``keep`` is what must come
back byte for byte, ``truth`` is the label. It is one file that implements ``base.Generator`` and
one line in the table below. A sample is identified by ``plan.key`` with the generator's name and
version; equal ones are equal bytes, so that a unit of work that runs twice makes nothing twice.
Nothing here knows of a database: who stores keeps ``plan.parents``, ``Judged.to_rows()`` and
``Drawn.parameters``.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from curation.synthesis.base import (
    Donor,
    Drawn,
    Generator,
    Harm,
    Parent,
    Plan,
    Role,
    Scene,
    Staged,
    Staging,
    Undrawn,
)
from curation.synthesis.checks import CheckContext, Judged, Row, check, works
from curation.synthesis.known import finder, found_rows, harmless
from curation.synthesis.make import Sample, Verdict, decide, draw, harms_of
from curation.synthesis.misses import Missed
from curation.synthesis.plans import ModeHarm, SynthesisRequest, plan
from curation.synthesis.pool_pixels import PoolRules, pool_harms
from curation.synthesis.scenes import Labelled, places
from curation.synthesis.texture import texture_bounds

__all__ = [
    "CheckContext",
    "Donor",
    "Drawn",
    "Generator",
    "Harm",
    "Judged",
    "Labelled",
    "Missed",
    "ModeHarm",
    "Parent",
    "Plan",
    "PoolRules",
    "Role",
    "Row",
    "Sample",
    "Scene",
    "Staged",
    "Staging",
    "SynthesisRequest",
    "Undrawn",
    "Verdict",
    "accepted",
    "check",
    "decide",
    "draw",
    "finder",
    "found_rows",
    "get",
    "harmless",
    "harms_of",
    "names",
    "places",
    "plan",
    "pool_harms",
    "texture_bounds",
    "works",
]

# name: module of this package, class
_GENERATORS: dict[str, tuple[str, str]] = {
    "bridge": ("bridge", "Bridge"),
    "compose": ("compose", "Compose"),
    "diffusers": ("pipelines", "Diffusers"),
}


def names() -> tuple[str, ...]:
    """Names of the generators, sorted."""
    return tuple(sorted(_GENERATORS))


def get(name: str, **parameters: Any) -> Generator:
    """The generator of that name with these parameters.

    Raises:
        ValueError: no generator has this name, or a parameter has a value it does not take.
        TypeError: the generator has no such parameter.
    """
    return _generator(name)(**parameters)


def accepted(name: str, offered: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the offered parameters that the generator of that name takes.

    Raises:
        ValueError: no generator has this name.
    """
    taken = inspect.signature(_generator(name)).parameters
    return {key: value for key, value in offered.items() if key in taken}


def _generator(name: str) -> Callable[..., Generator]:
    if name not in _GENERATORS:
        raise ValueError(f"no generator {name!r}; there are {', '.join(names())}")
    module, attribute = _GENERATORS[name]
    generator: Callable[..., Generator] = getattr(
        importlib.import_module(f"curation.synthesis.{module}"), attribute
    )
    return generator
