"""KernelSHAP and Leverage SHAP: Shapley values by regression on pairs of coalitions.

Read :mod:`curation.explain.coalitions` for the draw and the regression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from curation import superpixels
from curation.explain import coalitions
from curation.explain.base import check_segments
from curation.explain.coalitions import Sampling
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import Attribution, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray


@dataclass(frozen=True, slots=True)
class KernelShap:
    """Shapley values from the scores of coalitions, each scored with its complement.

    Needs no gradient; its forward rows serve all targets of an image. The values sum to score
    minus baseline. Exact once num_samples reaches 2^S.

    Args:
        num_samples: masked images, the image and the mean colour among them; at least 4. May be
            below the number of segments: the ridge decides then. With fewer than twice as many,
            the standard errors are NaN.
        kind: unit of the explained score.
        ridge: shrinks the values towards equal ones, see :func:`coalitions.fit`: at 0.01 and
            165 segments by 10 per cent where there are as many pairs as segments, and by less
            in proportion as pairs are added. 0 for none.
        batch_size: masked images a forward pass; bounds memory, changes no value.
        seed: of the coalitions. Two model versions explained under one seed share them.

    Source:
        Lundberg and Lee, 2017; pairs and the constraint solved exactly: Covert and Lee, 2021.
        Size classes are drawn without replacement and in nearly equal numbers to their
        expectation, where the shap package draws sizes at random.
    """

    num_samples: int = 320
    kind: ScoreKind = ScoreKind.LOG_ODDS
    ridge: float = 0.01
    batch_size: int | None = None
    seed: int = 0

    name: ClassVar[str] = "kernel_shap"
    sampling: ClassVar[Sampling] = "kernel"

    def __post_init__(self) -> None:
        if self.num_samples < 4 or (self.batch_size is not None and self.batch_size < 1):
            raise ValueError("num_samples must be at least 4 and batch_size at least 1")
        if self.ridge < 0:
            raise ValueError(f"ridge is {self.ridge}, expected at least 0")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on; the batch size is not part of it."""
        return {
            "num_samples": self.num_samples,
            "kind": str(self.kind),
            "ridge": self.ridge,
            "seed": self.seed,
        }

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Shapley values of all targets; standard errors are the jackknife's over pairs."""
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        inputs = detector.preprocess([image])  # [1, 3, h, w]
        design = coalitions.paired_design(
            (self.num_samples - 2) // 2,
            superpixels.count(segments),
            self.sampling,
            np.random.default_rng(self.seed),
        )
        scores = coalitions.score(
            detector, inputs, segments, design, targets, self.kind, self.batch_size
        )
        found = coalitions.fit(design, scores, self.ridge)
        return coalitions.attributions(self, segments, targets, found, scores.full, scores.empty)


@dataclass(frozen=True, slots=True)
class LeverageShap(KernelShap):
    """KernelSHAP with coalitions drawn by their leverage: all sizes equally often.

    Takes the same parameters.

    Source:
        Musco and Witter, 2025, algorithm 1; see :func:`coalitions.paired_design`.
    """

    name: ClassVar[str] = "leverage_shap"
    sampling: ClassVar[Sampling] = "leverage"
