"""Any method with passes in half precision, where that changes no map."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from curation.explain.base import Explainer, Repeats
from curation.explain.fidelity import pearson
from curation.kernel.detector import Detector, Precision, ReducesPrecision
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import Attribution, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray

logger = logging.getLogger(__name__)

LEAST_AGREEMENT = 0.99
TRIAL_TARGETS = 8


class InPrecision:
    """A method whose passes run in half precision, once that is seen to be right.

    The first targets on each detector are explained in both precisions and answered in float32.
    If every pair of maps agrees, later targets are explained in half precision alone; if one does
    not, the detector stays with float32. So it does where it offers no other precision, and an
    image whose values leave the range of half precision is explained in float32 then and there.

    Args:
        explainer: the method.
        precision: of the passes.
        least: Pearson correlation of the values of superpixels that counts as agreement, in -1..1.
        trial: so many targets, over one image or several, are explained in both.
    """

    def __init__(
        self,
        explainer: Explainer,
        precision: Precision,
        least: float = LEAST_AGREEMENT,
        trial: int = TRIAL_TARGETS,
    ) -> None:
        self._explainer = explainer
        self._precision: Precision = precision
        self._least, self._trial = least, trial
        self._agreed: dict[str, int] = {}  # by version: targets that agreed so far
        self._refused: set[str] = set()

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return self._explainer.name

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The method's own and the precision; those of an attribution say what it came from."""
        return {**self._explainer.parameters, "precision": self._precision}

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """One attribution for each target, see :class:`curation.explain.base.Explainer`."""
        version = detector.version
        reduced = self._reduced(detector)
        if reduced is not None and self._agreed.get(version, 0) >= self._trial:
            try:
                found = self._explainer.explain(reduced, image, targets, segments)
            except ExplanationFailed as error:
                logger.warning("explained in float32 instead of %s: %s", self._precision, error)
            else:
                return [replace(one, parameters=self.parameters) for one in found]
        began = time.monotonic()
        exact = self._explainer.explain(detector, image, targets, segments)
        if reduced is not None and self._agreed.get(version, 0) < self._trial:
            seconds = time.monotonic() - began
            self._compare(version, exact, seconds, reduced, (image, targets, segments))
        return exact

    def _reduced(self, detector: Detector) -> Detector | None:
        if detector.version in self._refused or not isinstance(detector, ReducesPrecision):
            return None
        return detector.in_precision(self._precision)

    def _compare(
        self,
        version: str,
        exact: list[Attribution],
        exact_s: float,
        reduced: Detector,
        asked: tuple[ImageArray, Sequence[ScoreTarget], SegmentArray],
    ) -> None:
        """Put the targets of one image on trial; ``exact_s`` is what float32 took, in seconds."""
        began = time.monotonic()
        try:
            if isinstance(self._explainer, Repeats):  # precision alone may differ, not the masks
                found = self._explainer.repeat(reduced, asked[0], exact, asked[2])
            else:
                found = self._explainer.explain(reduced, *asked)
        except (ExplanationFailed, RuntimeError) as error:  # torch lacks some layers in half
            self._refuse(version, str(error))
            return
        times = (time.monotonic() - began) / max(exact_s, 1e-9)
        agreement = [_agreement(*pair) for pair in zip(exact, found, strict=True)]
        if not all(rho >= self._least for rho in agreement):  # nan agrees with nothing
            self._refuse(version, f"a map agrees with that of float32 to {min(agreement):.3f} only")
            return
        self._agreed[version] = self._agreed.get(version, 0) + len(agreement)
        if self._agreed[version] >= self._trial:
            logger.log(
                logging.INFO if times < 1 else logging.WARNING,
                "detector %s: %s is explained in %s from here on, in %.1f times the seconds",
                version[:12],
                self.name,
                self._precision,
                times,
            )

    def _refuse(self, version: str, why: str) -> None:
        self._refused.add(version)
        logger.warning(
            "detector %s: %s stays in float32, %s will not do: %s",
            version[:12],
            self.name,
            self._precision,
            why,
        )


def _agreement(one: Attribution, other: Attribution) -> float:
    """Pearson correlation; 1 of maps that are the same, also where they are constant."""
    return 1.0 if np.array_equal(one.values, other.values) else pearson(one.values, other.values)
