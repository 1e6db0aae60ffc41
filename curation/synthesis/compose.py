"""The generator "compose": real pixels of what hurt around a real object; no weights, no GPU."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2

from curation.kernel.errors import CurationError
from curation.synthesis.base import Drawn, Plan, Undrawn
from curation.synthesis.blend import BLENDINGS, Blending
from curation.synthesis.composite import BLENDING
from curation.synthesis.staging import stage

_CODE = 1
"""Counted up when the same plan would give other bytes than before."""


@dataclass(frozen=True, slots=True)
class Compose:
    """Composition.

    Args:
        blending: of the seams, see ``blend.blend``; "varied": each sample takes one of them by
            its seed, so that a detector cannot learn the seam.

    Source:
        Several blendings of pasted objects: Dwibedi et al., "Cut, Paste and Learn", 2017. Here
        the object stays and its surroundings are pasted.
    """

    blending: str = BLENDING

    name: ClassVar[str] = "compose"
    invents: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.blending not in (*BLENDINGS, "varied"):
            raise ValueError(
                f"no blending {self.blending!r}; there are {', '.join(BLENDINGS)} and varied"
            )

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that a sample depends on beside its plan."""
        return {"blending": self.blending}

    @property
    def version(self) -> str:
        """Hash of parameters, of this code's number and of the library that cuts and resizes."""
        told = json.dumps([_CODE, cv2.__version__, dict(self.parameters)], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def require_ready(self) -> None:
        """It needs nothing but the pictures."""

    def draw(self, plans: Sequence[Plan]) -> Iterator[Drawn | Undrawn]:
        """One answer for each plan; see ``Generator.draw``."""
        for plan in plans:
            started = time.process_time()
            try:
                staged = stage(plan, self._blending(plan))
            except CurationError as problem:
                yield Undrawn(plan, str(problem))
                continue
            seconds = time.process_time() - started
            yield Drawn(
                *(plan, staged, staged.composite, self.name, self.version),
                {**self.parameters, "blended": self._blending(plan)},
                seconds,
            )

    def _blending(self, plan: Plan) -> Blending:
        if self.blending == "varied":
            return BLENDINGS[plan.seed % len(BLENDINGS)]
        return next(one for one in BLENDINGS if one == self.blending)
