"""Retrieval without training: how much of what an arm asks for holds a cause of the failures."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.loop.arms import Arm, choose
from benchmarks.loop.prepare import Prepared
from curation.select import Budget

TOP = 100
MODE_TOP = 10
MIN_MODE = 2


def measure(arm: Arm, prepared: Prepared) -> dict[str, Any]:
    """One arm on one world: precision, enrichment and cover of the causes among the first."""
    samples = prepared.samples
    chosen = [samples[c.image] for c in choose(arm, prepared, Budget(images=TOP))]
    useful = [bool(sample.planted) for sample in chosen]
    base = np.mean([bool(sample.planted) for sample in samples.values()])
    return {
        "useful": float(np.mean(useful)),
        "enrichment": float(np.mean(useful) / base),
        "base_rate": float(base),
        "boxes": int(sum(len(sample.truth) for sample in chosen)),
        "by_cause": {
            cause: sum(cause in sample.planted for sample in chosen)
            for cause in prepared.world.cause_class
        },
    }


def mode_precision(prepared: Prepared, variant: str = "negative") -> dict[str, Any]:
    """Do modes follow causes? For each cause the best mode's share of it among its exemplars.

    Source:
        Eyuboglu et al., "Domino: Discovering Systematic Errors", ICLR 2022: precision at 10 of the
        slice that fits a planted one best.
    """
    cause_of = {failure.name: failure.cause for failure in prepared.failures}
    modes = [mode for mode in prepared.modes(variant) if len(mode.members) >= MIN_MODE]
    found = {}
    for cause in sorted({cause for cause in cause_of.values() if cause}):
        shares = [
            np.mean([cause_of[name] == cause for name in _typical(mode, prepared, variant)])
            for mode in modes
        ]
        found[cause] = float(max(shares, default=0.0))
    sizes = {c: sum(v == c for v in cause_of.values()) for c in found}
    return {
        "precision_at_10": float(np.mean(list(found.values()))) if found else 0.0,
        "by_cause": found,
        "failures_by_cause": sizes,
        "failures": len(cause_of),
        "modes": len(modes),
    }


def _typical(mode: Any, prepared: Prepared, variant: str) -> list[str]:
    """The ten members whose harm is most like the mode's; all of a smaller mode."""
    evidence = {f.name: f.evidence[variant] for f in prepared.failures}
    centre = mode.weights @ prepared.index.metric.apply(mode.vectors) if len(mode.vectors) else None

    def likeness(name: str) -> float:
        own = evidence[name]
        if centre is None or not len(own.vectors):
            return 0.0
        return float(own.weights @ prepared.index.metric.apply(own.vectors) @ centre)

    return sorted(mode.members, key=lambda name: (-likeness(name), name))[:MODE_TOP]
