"""What was measured of a trained network, and whether that makes it a generator to rely on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from curation.kernel.detector import Encoder
from curation.kernel.errors import GeneratorUnusable
from curation.kernel.files import write_json
from curation.kernel.types import BoolArray, FloatArray, ImageArray
from curation.synthesis.base import Drawn, Generator, Harm, Plan
from curation.synthesis.bridge.examples import region_vectors

FILE = "verdict.json"
LEAST_RATIO, LEAST_RATIO_LOW = 1.5, 1.0
LEAST_NEARER, LEAST_NEARER_LOW = 0.9, 0.8
LEAST_AGAINST_COMPOSE = -0.02
_REPEATS = 2000
_INTERVAL = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Conditioned:
    """Bar G1: whether what is drawn follows what hurt; intervals of 95 %.

    Attributes:
        plans: that were drawn in all three ways.
        ratio: change of the hole when what hurt is swapped over that when the seed is.
        ratio_low: lower end of its interval.
        nearer: share of plans whose hole is nearer to its own region vector than to the other.
        nearer_low: lower end of its interval.
    """

    plans: int
    ratio: float
    ratio_low: float
    nearer: float
    nearer_low: float

    @property
    def passed(self) -> bool:
        """Whether all four keep to their bounds; what is not a number does not."""
        return (
            self.ratio >= LEAST_RATIO
            and self.ratio_low >= LEAST_RATIO_LOW
            and self.nearer >= LEAST_NEARER
            and self.nearer_low >= LEAST_NEARER_LOW
        )


@dataclass(frozen=True, slots=True)
class Worth:
    """Bar G6: what its samples repair, against composition; shares of siblings fixed.

    Attributes:
        difference: its share minus that of ``compose``, over all causes.
        cause: the one in which it does best.
        cause_low: lower end of the interval of the difference there.
    """

    difference: float
    cause: str
    cause_low: float

    @property
    def passed(self) -> bool:
        """Not worse than composition, and better somewhere."""
        return self.difference >= LEAST_AGAINST_COMPOSE and self.cause_low > 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was measured of some weights.

    Attributes:
        weights: hash of them; of others it says nothing.
        conditioned: bar G1; None where it was not measured.
        worth: bar G6; None likewise.
    """

    weights: str
    conditioned: Conditioned | None = None
    worth: Worth | None = None

    def why_not(self, weights: str) -> str:
        """What keeps these weights from being relied on, in one sentence; "" for nothing."""
        if self.weights != weights:
            return "what was measured (verdict.json) is of other weights"
        for name, bar in (
            ("that it follows what hurt (G1)", self.conditioned),
            ("that it repairs as well as composition (G6)", self.worth),
        ):
            if bar is None:
                return f"it was not measured {name}"
            if not bar.passed:
                return f"it was measured, and not found, {name}: {asdict(bar)}"
        return ""


def verdict_of(read: dict[str, Any]) -> Verdict:
    """What :func:`write_verdict` wrote, as read from JSON.

    Raises:
        GeneratorUnusable: it is no such thing.
    """
    try:
        conditioned, worth = read["conditioned"], read["worth"]
        return Verdict(
            str(read["weights"]),
            Conditioned(**conditioned) if conditioned else None,
            Worth(**worth) if worth else None,
        )
    except (ValueError, KeyError, TypeError) as problem:
        raise GeneratorUnusable(
            "a verdict has weights, conditioned and worth, as `curation.synthesis.bridge` writes "
            f"it: {type(problem).__name__}: {problem}"
        ) from problem


def write_verdict(folder: Path, verdict: Verdict) -> None:
    """Store it beside the weights."""
    write_json(folder / FILE, asdict(verdict))


def read_verdict(folder: Path) -> Verdict | None:
    """What is stored beside the weights; None where nothing is.

    Raises:
        GeneratorUnusable: the file is damaged.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        return verdict_of(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, GeneratorUnusable, OSError) as problem:
        raise GeneratorUnusable(f"{file} cannot be read: {problem}") from problem


def conditioned(
    generator: Generator,
    plans: Sequence[Plan],
    others: Sequence[Harm],
    encoder: Encoder,
    rng: np.random.Generator,
) -> Conditioned:
    """Measure bar G1 of any generator.

    Args:
        generator: draws three samples a plan.
        plans: of samples, not of controls.
        others: for each plan, what hurt in another mode.
        encoder: of the vectors that say what a hole shows.
        rng: of the bootstrap over plans.

    Raises:
        ValueError: numbers differ, or no plan could be drawn in all three ways.
    """
    if len(plans) != len(others):
        raise ValueError(f"{len(plans)} plans and {len(others)} others")
    rows = [
        _one(generator, plan, other, encoder) for plan, other in zip(plans, others, strict=True)
    ]
    table = np.array([row for row in rows if row is not None], np.float64).reshape(-1, 3)
    if not len(table):
        raise ValueError("none of the plans could be drawn with another seed and another harm")
    drawn = table[rng.integers(0, len(table), (_REPEATS, len(table)))].mean(axis=1)
    ratios, nearer = _ratio(drawn), drawn[:, 2]
    low, _ = np.quantile(ratios, _INTERVAL)
    near_low, _ = np.quantile(nearer, _INTERVAL)
    mean = table.mean(axis=0)
    return Conditioned(
        *(len(table), float(_ratio(mean[None])[0]), float(low)),
        *(float(mean[2]), float(near_low)),
    )


def _ratio(means: FloatArray) -> FloatArray:
    return np.asarray(means[:, 0] / np.maximum(means[:, 1], 1e-6))


def _one(
    generator: Generator, plan: Plan, other: Harm, encoder: Encoder
) -> tuple[float, float, float] | None:
    variants = [plan, replace(plan, harm=other), replace(plan, seed=plan.seed + 1)]
    drawn = list(generator.draw(variants))
    first, swapped, seeded = drawn
    if not (isinstance(first, Drawn) and isinstance(swapped, Drawn) and isinstance(seeded, Drawn)):
        return None
    hole = first.staged.hole & swapped.staged.hole
    if not hole.any():
        return None
    moved = [
        float(np.abs(one.image.astype(np.float64) - first.image)[hole].mean())
        for one in (swapped, seeded)
    ]
    shown = _vector(encoder, first.image, first.staged.hole)
    own = _vector(encoder, plan.harm.pixels, plan.harm.mask)
    foreign = _vector(encoder, other.pixels, other.mask)
    return moved[0], moved[1], float(shown @ own > shown @ foreign)


def _vector(encoder: Encoder, pixels: ImageArray, mask: BoolArray) -> FloatArray:
    vector: FloatArray = region_vectors(encoder.encode([pixels])[0], mask[None])[0]
    return vector
