"""Retrieval without training: how much of what an arm asks for holds a cause of the failures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, islice
from typing import Any

import numpy as np

from benchmarks.loop.arms import Arm, choose
from benchmarks.loop.prepare import NO_REGIONS, Prepared
from curation.kernel.types import FailureKind
from curation.modes import FailureEvidence, Mode, cluster
from curation.modes.split import MIN_HALF
from curation.select import Budget
from curation.select.e2x import E2XSelection
from curation.select.ranking import Ranker, Weights

MODE_TOP = 10
MIN_FAILURES = 2
LOTS = 200
ROOM_TOP = 15
SPLIT_VARIANTS = ("negative", "random", "box")
ROOM_ARMS = {"e2x": "negative", "e2x_random_regions": "random", "e2x_no_regions": NO_REGIONS}


def measure(arm: Arm, prepared: Prepared, top: int) -> dict[str, Any]:
    """One arm on one world: precision, enrichment and cover of the causes among the first."""
    samples = prepared.samples
    chosen = [samples[c.image] for c in choose(arm, prepared, Budget(images=top))]
    world = prepared.world
    useful = [bool(causes) for causes in world.useful(chosen)]
    base = np.mean([bool(causes) for causes in world.useful(world.pool)])
    return {
        "useful": float(np.mean(useful)),
        "enrichment": float(np.mean(useful) / base),
        "base_rate": float(base),
        "boxes": int(sum(len(sample.truth) for sample in chosen)),
        "by_cause": {
            cause: sum(cause in sample.planted for sample in chosen) for cause in world.cause_class
        },
    }


def mode_precision(prepared: Prepared, variant: str = "negative") -> dict[str, Any]:
    """Do modes follow causes? For each cause the best mode's share of it among its exemplars.

    Ten exemplars, or as many as the cause has failures where these are fewer; what a smaller mode
    lacks counts as wrong, so that fragments of a cause gain nothing. Beside it what lot would give:
    the same modes with the causes dealt out anew among failures of one kind and class.

    Source:
        Eyuboglu et al., "Domino: Discovering Systematic Errors", ICLR 2022: precision at 10 of the
        slice that fits a planted one best.
    """
    cause_of = {failure.name: failure.cause for failure in prepared.failures}
    exemplars = [_typical(mode, prepared, variant) for mode in prepared.modes(variant)]
    found = precision(exemplars, cause_of)
    rng = np.random.default_rng(prepared.world.seed)
    lots = [precision(exemplars, _dealt_anew(prepared, rng)) for _ in range(LOTS)]
    return {
        "precision_at_10": float(np.mean(list(found.values()))) if found else 0.0,
        "by_lot": float(np.mean([list(lot.values()) for lot in lots])) if found else 0.0,
        "by_cause": found,
        "failures_by_cause": {c: sum(v == c for v in cause_of.values()) for c in found},
        "failures": len(cause_of),
        "modes": len(exemplars),
    }


def precision(
    exemplars: Sequence[Sequence[str]], cause_of: dict[str, str | None]
) -> dict[str, float]:
    """By cause the best mode's share of it among its exemplars, see ``mode_precision``.

    Causes with a single failure are left out: it alone makes a perfect mode.

    Args:
        exemplars: of each mode, the most typical first.
        cause_of: each failure's, None where it has none.
    """
    found = {}
    for cause in sorted({cause for cause in cause_of.values() if cause}):
        count = min(MODE_TOP, sum(own == cause for own in cause_of.values()))
        if count < MIN_FAILURES:
            continue
        hits = [sum(cause_of[name] == cause for name in own[:count]) for own in exemplars]
        found[cause] = max(hits, default=0) / count
    return found


def _dealt_anew(prepared: Prepared, rng: np.random.Generator) -> dict[str, str | None]:
    """By failure a cause, drawn without replacement among failures of the same kind and class."""
    alike = defaultdict(list)
    for own in prepared.failures:
        alike[own.failure.kind, own.failure.label].append(own)
    return {
        own.name: group[row].cause
        for group in alike.values()
        for own, row in zip(group, rng.permutation(len(group)), strict=True)
    }


def room(prepared: Prepared) -> dict[str, float]:
    """Where is there room for an explanation? What the modes of each cause find first.

    For each cause its largest mode, and of the ``ROOM_TOP`` images that answer the mode best (or as
    many as hold the cause, if fewer) the share that holds it: ranked as ``e2x`` ranks, the same
    with random regions, and by the object alone. No budget is divided here.
    """
    weights = Weights(E2XSelection().harm_weight, E2XSelection().unseen)
    ranker = Ranker(prepared.pool, prepared.index, weights)
    cause_of = {failure.name: failure.cause for failure in prepared.failures}
    found = {}
    for arm, variant in ROOM_ARMS.items():
        queries = prepared.queries(variant)
        members = {
            mode.key: [cause_of[m] for m in mode.members] for mode in prepared.modes(variant)
        }
        for cause in sorted({cause for cause in cause_of.values() if cause}):
            query = max(queries, key=lambda one: members[one.mode].count(cause))
            holds = {name for name, sample in prepared.samples.items() if cause in sample.planted}
            (ranking,) = ranker.rank([query])
            first = [entry.image.image for entry in islice(ranking, min(ROOM_TOP, len(holds)))]
            if first:
                found[f"{cause} {arm}"] = float(np.mean([image in holds for image in first]))
    return found


def mode_splits(prepared: Prepared) -> dict[str, float]:
    """Does harm alone tell causes apart? Failures cluster by it as if all missed the same object.

    The failures of one cause should stay one mode, those of two causes become two. Each cause,
    then each pair, is clustered by itself, by what hurt and, for comparison, by random regions and
    by the box, which shows how much the objects alone would tell.

    Returns:
        For each: ``whole``, the share of causes that stay one mode, and ``apart``, how well the
        modes of a pair are its causes, as adjusted Rand index, mean over pairs.

    Source:
        Hubert and Arabie, "Comparing Partitions", 1985.
    """
    found: dict[str, float] = {}
    for variant in SPLIT_VARIANTS:
        causes: dict[str, list[FailureEvidence]] = defaultdict(list)
        for failure in prepared.failures:
            if failure.cause:
                causes[failure.cause].append(_of_one_object(failure.evidence[variant]))
        large = [own for own in causes.values() if len(own) >= 2 * MIN_HALF]
        if len(large) < 2:
            continue
        apply = prepared.index.metric.apply
        whole = [len(cluster(own, apply)) == 1 for own in large]
        apart = [
            _agreement(pair, cluster([*pair[0], *pair[1]], apply))
            for pair in combinations(large, 2)
        ]
        found[f"{variant} whole"] = float(np.mean(whole))
        found[f"{variant} apart"] = float(np.mean(apart))
    return found


def _of_one_object(evidence: FailureEvidence) -> FailureEvidence:
    """The same harm to an object that is the same for all."""
    blank = np.ones_like(evidence.object_vector)
    return replace(evidence, kind=FailureKind.FALSE_NEGATIVE, label=0, object_vector=blank)


def _agreement(causes: Sequence[list[FailureEvidence]], found: Sequence[Mode]) -> float:
    from sklearn.metrics import adjusted_rand_score

    mode_of = {name: mode.key for mode in found for name in mode.members}
    cause_of = {one.failure: row for row, own in enumerate(causes) for one in own}
    names = sorted(cause_of)
    return float(adjusted_rand_score([cause_of[n] for n in names], [mode_of[n] for n in names]))


def single_failures(prepared: Prepared) -> dict[str, Any]:
    """What one explanation is worth: each failure asks alone, with its regions.

    Failures of a known cause do, if any image of the pool holds it.

    For each failure as many images are taken as hold its cause; precision is then recall too.
    Without modes, objects, novelty or coverage: only how well regions find their like.
    """
    planted = {name: sample.planted for name, sample in prepared.samples.items()}
    held = frozenset[str]().union(*planted.values())
    failures = [failure for failure in prepared.failures if failure.cause in held]
    variants = prepared.world.variants
    found: dict[str, list[float]] = {variant: [] for variant in (*variants, "object")}
    wholes: list[float] = []
    vectors = {image.image: image.vector for image in prepared.pool if image.vector is not None}
    for failure in failures:
        own = failure.evidence
        queries = [own[variant].vectors for variant in variants]
        if not all(map(len, queries)):
            continue
        objects = own["box"].object_vector[None]
        scores = prepared.index.score_images(np.concatenate([*queries, objects]))
        holds = np.array([failure.cause in planted[image] for image in scores.images])
        weights = [*(own[variant].weights for variant in variants), np.ones(1, np.float32)]
        start = 0
        for variant, weight in zip(found, weights, strict=True):
            rows = scores.similarities[start : start + len(weight)]
            start += len(weight)
            best = np.argsort(-(weight @ rows), kind="stable")[: holds.sum()]
            found[variant].append(float(holds[best].mean()))
        pictures = np.stack([vectors[image] for image in scores.images])
        best = np.argsort(-(pictures @ own["box"].whole), kind="stable")[: holds.sum()]
        wholes.append(float(holds[best].mean()))
    found["whole_image"] = wholes
    return {
        "failures": len(found["object"]),
        **{variant: float(np.mean(values)) for variant, values in found.items() if values},
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
