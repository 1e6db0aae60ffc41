"""Failure modes over the cycles: which mode of this cycle is which of the last one.

Each cycle clusters the champion's failures anew (:mod:`curation.modes`); a mode is what stays the
same under that. It is known again by its failures (the same object missed once more) and, since a
new champion fails elsewhere, by what hurt them and what was missed. What a mode's state may become
is in :mod:`curation.modes.states`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from curation.kernel.types import FloatArray
from curation.modes import Mode, Transform


@dataclass(frozen=True, slots=True, eq=False)
class ModeTrace:
    """What is compared of a mode: one of this cycle, or as it was last seen.

    Attributes:
        key: of this cycle, or the lasting identity.
        family: "missed" or "false".
        label: the class.
        places: where its failures lie. A place is the same for every model: the object that is
            missed, or the spot where a false detection appears.
        vectors: [Q, W] float32, pooled harmful regions; Q may be 0.
        weights: [Q] float32, their shares of the harm.
        object_vector: [W] float32, mean of the objects. W is 0 where nothing can be compared,
            as after a change of the encoder.
    """

    key: str
    family: str
    label: int
    places: frozenset[str]
    vectors: FloatArray
    weights: FloatArray
    object_vector: FloatArray

    @staticmethod
    def of(mode: Mode, places: Mapping[str, str]) -> ModeTrace:
        """The trace of a mode of this cycle.

        Args:
            mode: as clustered.
            places: failure id to place.
        """
        return ModeTrace(
            mode.key,
            mode.family,
            mode.label,
            frozenset(places[failure] for failure in mode.members),
            mode.vectors,
            mode.weights,
            mode.object_vector,
        )


@dataclass(frozen=True, slots=True)
class MatchRules:
    """When two modes are one.

    Attributes:
        min_similarity: least similarity of harm and object, -1..1. On the street world, halves of
            one mode reach 0.36 to 0.94 (one of 48 is below 0.44), halves of different modes of one
            class 0.49 at most (5 of 100 are above 0.4).
        min_shared: or this share of the smaller one's places is also the other's.
        object_weight: how much the object counts beside the harm, in 0..1.
        shared_weight: how much shared places count beside the similarity, in 0..1, when several
            modes could be the one.
    """

    min_similarity: float = 0.4
    min_shared: float = 0.5
    object_weight: float = 0.5
    shared_weight: float = 0.5


def match(
    now: Sequence[ModeTrace],
    known: Sequence[ModeTrace],
    transform: Transform,
    rules: MatchRules = MatchRules(),
) -> dict[str, str]:
    """Find the modes of this cycle among the known ones, each at most once.

    Of all admissible pairings the one with the greatest total is taken (Hungarian method), so
    that the outcome does not depend on the order.

    Args:
        now: of this cycle.
        known: as last seen; vectors of the same encoder.
        transform: the metric of the index.
        rules: see there.

    Returns:
        Key of this cycle to key of the known mode; modes that are new have none.

    Source:
        H. W. Kuhn, The Hungarian Method for the Assignment Problem, 1955.
    """
    if not now or not known:
        return {}
    from scipy.optimize import linear_sum_assignment

    now, known = sorted(now, key=_key), sorted(known, key=_key)
    scores = _scores(now, known, transform, rules)  # [N, M], -inf where they cannot be one
    possible = np.isfinite(scores)
    # A pair that cannot be is worth less than none: it is dropped after the assignment.
    rows, columns = linear_sum_assignment(np.where(possible, scores + 2, 0), maximize=True)
    return {
        now[row].key: known[column].key
        for row, column in zip(rows, columns, strict=True)
        if possible[row, column]
    }


def similarity(
    first: ModeTrace, second: ModeTrace, transform: Transform, object_weight: float
) -> float:
    """How alike two modes are in harm and object, -1..1; nan where nothing can be compared."""
    first_harm, first_object = signature_of(first, transform)
    second_harm, second_object = signature_of(second, transform)
    if not first_object.size or first_object.shape != second_object.shape:
        return float("nan")
    objects = float(first_object @ second_object)
    if not first_harm.any() and not second_harm.any():
        return objects
    return object_weight * objects + (1 - object_weight) * float(first_harm @ second_harm)


def name_of(family: str, label: str, number: int) -> str:
    """What people call a mode.

    Args:
        family: "missed" or "false".
        label: name of the class.
        number: from 1, among the modes of this family and class.
    """
    return f"{family} {label} {number}"


def _key(trace: ModeTrace) -> str:
    return trace.key


def _scores(
    now: Sequence[ModeTrace], known: Sequence[ModeTrace], transform: Transform, rules: MatchRules
) -> FloatArray:
    """[N, M] float32, -inf for pairs that cannot be one mode."""
    scores = np.full((len(now), len(known)), -np.inf, np.float32)
    for row, first in enumerate(now):
        for column, second in enumerate(known):
            if (first.family, first.label) == (second.family, second.label):
                scores[row, column] = _score(first, second, transform, rules)
    return scores


def _score(first: ModeTrace, second: ModeTrace, transform: Transform, rules: MatchRules) -> float:
    shared = _shared(first.places, second.places)
    alike = similarity(first, second, transform, rules.object_weight)
    if np.isnan(alike):  # places alone decide
        return shared if shared >= rules.min_shared else -np.inf
    if shared < rules.min_shared and alike < rules.min_similarity:
        return -np.inf
    return (1 - rules.shared_weight) * alike + rules.shared_weight * shared


def _shared(first: frozenset[str], second: frozenset[str]) -> float:
    """Share of the smaller set that is in both, 0..1."""
    smaller = min(len(first), len(second))
    return len(first & second) / smaller if smaller else 0.0


def signature_of(trace: ModeTrace, transform: Transform) -> tuple[FloatArray, FloatArray]:
    """What a mode is compared by: harm [m], 0 where no region stands out, and object [m].

    Each is of unit length, or empty where nothing of the mode is kept.
    """
    if not trace.object_vector.size:
        return trace.object_vector, trace.object_vector
    found = transform(trace.object_vector[None])[0]
    if not len(trace.vectors):
        return np.zeros_like(found), found
    harm = (trace.weights[:, None] * transform(trace.vectors)).sum(0)
    return (harm / max(float(np.linalg.norm(harm)), 1e-12)).astype(np.float32), found
