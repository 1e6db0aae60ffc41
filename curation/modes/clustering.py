"""Failures to failure modes: what was missed, and what hurt it.

Failures of one family and class are clustered by their objects; a cluster whose halves blame
different things is divided, see :mod:`curation.modes.split`. A single explanation is noisy; a mode
pools the regions of all its members, so that what recurs gains weight and what is accidental loses
it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from curation.kernel.types import FailureKind, FloatArray, IntArray
from curation.modes import linkage
from curation.modes.split import by_harm, unit
from curation.modes.variety import distinct_first

Transform = Callable[[FloatArray], FloatArray]
"""Raw vectors [N, W] to comparable ones [N, m] of unit length, such as ``Metric.apply``."""


@dataclass(frozen=True, slots=True, eq=False)
class FailureEvidence:
    """One failure with what its explanation points at.

    Attributes:
        failure: its id.
        kind: how the detection was wrong.
        label: the class that was missed, or for a false positive falsely found.
        vectors: [R, W] float32, its harmful regions; R may be 0.
        weights: [R] float32, their shares of the harm.
        object_vector: [W] float32, the object's or false detection's box.
        whole: [D] float32, the whole image.
        frame: the image that it was seen in; empty where unknown.
        group: such as the drive that the image is of; empty where unknown.
    """

    failure: str
    kind: FailureKind
    label: int
    vectors: FloatArray
    weights: FloatArray
    object_vector: FloatArray
    whole: FloatArray
    frame: str = ""
    group: str = ""

    @property
    def family(self) -> str:
        """Whether an object lacks its detection ("missed") or a detection its object ("false")."""
        return "false" if self.kind is FailureKind.FALSE_POSITIVE else "missed"


@dataclass(frozen=True, slots=True)
class ModeRules:
    """How failures become modes.

    Attributes:
        max_distance: mean cosine distance of the objects up to which two groups of failures are
            one mode; further apart where objects of the class are unlike each other, see ``gain``.
        gain: objects are one mode from this many times the mean cosine of two objects of the class
            that the detector was trained on. How alike objects of a class are depends on the
            images that the metric was made for: 0.16 to 0.24 on the street world, whose causes
            have 0.4 or more; 0.07 for red cells, of which an index of blood smears is full.
        min_likeness: of what hurt the two halves of a mode, corrected for noise, in -1..1; below
            it they are two modes. On the street world halves of one cause have 0.61 to 0.95,
            failures of two causes 0 to 0.28; where both blame a car, 0.49 and 0.58.
        region_distance: mean cosine distance up to which harmful regions are one query.
        max_queries: query regions of a mode.
        min_share: a query region with a smaller share of the mode's harm is dropped as noise.
        max_regions: heaviest regions of a mode that are looked at; clustering is quadratic.
        num_exemplars: members shown for the mode, the most typical first, of different frames
            where there are.
    """

    max_distance: float = 0.8
    gain: float = 1.25
    min_likeness: float = 0.4
    region_distance: float = 0.7
    max_queries: int = 6
    min_share: float = 0.05
    max_regions: int = 600
    num_exemplars: int = 4

    def object_distance(self, usual: float | None) -> float:
        """Up to which objects are one mode.

        Args:
            usual: mean cosine of two objects of the class in training; None where unknown.
        """
        if usual is None:
            return self.max_distance
        return max(self.max_distance, 1 - self.gain * max(usual, 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class Mode:
    """A group of failures with one cause.

    Attributes:
        key: equal for equal members.
        kind: the most frequent kind of its members.
        family: "missed" or "false".
        label: the class.
        members: failure ids, sorted.
        exemplars: failure ids, the most typical first, each of another frame and drive as far as
            there are.
        weight: number of members.
        vectors: [Q, W] float32 of unit length, pooled harmful regions, heaviest first.
        weights: [Q] float32, summing to 1 where Q > 0.
        object_vector: [W] float32 of unit length, mean of the members' objects.
        whole: [F, D] float32, whole-image vectors of the members.
    """

    key: str
    kind: FailureKind
    family: str
    label: int
    members: tuple[str, ...]
    exemplars: tuple[str, ...]
    weight: float
    vectors: FloatArray
    weights: FloatArray
    object_vector: FloatArray
    whole: FloatArray


def cluster(
    evidence: Sequence[FailureEvidence],
    transform: Transform | None = None,
    rules: ModeRules | None = None,
    usual: Mapping[int, float] | None = None,
) -> list[Mode]:
    """Group failures into modes; the order of the input does not matter.

    Args:
        evidence: all of one encoder.
        transform: the metric of the index that will be searched; None compares raw vectors.
        rules: see there.
        usual: by class, how alike two of its objects in the training set are, under ``transform``;
            ``KnownObjects.alike`` measures it.

    Returns:
        Modes by falling size, then by key.
    """
    rules, transform = rules or ModeRules(), transform or unit
    by_kind: dict[tuple[str, int], list[FailureEvidence]] = {}
    for failure in sorted(evidence, key=lambda item: item.failure):
        by_kind.setdefault((failure.family, failure.label), []).append(failure)
    modes = []
    for (_, label), group in by_kind.items():
        max_distance = rules.object_distance((usual or {}).get(label))
        objects = transform(np.stack([item.object_vector for item in group]))
        harm = np.stack([_harm(item, transform) for item in group])
        for rows in _groups(objects, harm, max_distance, rules.min_likeness):
            members = [group[row] for row in rows]
            signatures = np.concatenate([harm[rows], objects[rows]], axis=1)
            modes.append(_mode(members, signatures, transform, rules))
    return sorted(modes, key=lambda mode: (-mode.weight, mode.key))


def mode_of(
    members: Sequence[FailureEvidence],
    transform: Transform | None = None,
    rules: ModeRules | None = None,
) -> Mode:
    """The mode that given failures make, as when a person says that they are one.

    Args:
        members: one at least, of one family and class.
        transform: the metric of the index that will be searched; None compares raw vectors.
        rules: how regions are pooled and exemplars found.
    """
    transform = transform or unit
    ordered = sorted(members, key=lambda item: item.failure)
    signatures = np.stack([signature(item, transform) for item in ordered])
    return _mode(ordered, signatures, transform, rules or ModeRules())


def signature(item: FailureEvidence, transform: Transform) -> FloatArray:
    """[2m] float32: what hurt (zeros where nothing is known to), then the object, unit lengths."""
    found = transform(item.object_vector[None])[0]
    both: FloatArray = np.concatenate([_harm(item, transform), found])
    return both


def _groups(
    objects: FloatArray, harm: FloatArray, max_distance: float, min_likeness: float
) -> Iterator[IntArray]:
    """Rows of each mode: like objects that fail for like reasons."""
    alike = linkage.groups(objects, max_distance)
    for label in range(alike.max() + 1):
        rows = np.flatnonzero(alike == label)
        reasons = by_harm(harm[rows], min_likeness)
        for reason in range(reasons.max() + 1):
            yield rows[reasons == reason]


def _harm(item: FailureEvidence, transform: Transform) -> FloatArray:
    """[m] of unit length: the weighted mean of what hurt; zeros where nothing is known to."""
    if not len(item.vectors):
        return np.zeros_like(transform(item.object_vector[None])[0])
    return unit((item.weights[:, None] * transform(item.vectors)).sum(0))


def _mode(
    members: Sequence[FailureEvidence],
    signatures: FloatArray,
    transform: Transform,
    rules: ModeRules,
) -> Mode:
    vectors, weights = _pooled_regions(members, transform, rules)
    typical = np.argsort(-(signatures @ signatures.mean(0)), kind="stable")
    places = [(members[row].frame, members[row].group) for row in typical]
    shown = typical[distinct_first(places, rules.num_exemplars)]
    names = [item.failure for item in members]
    kinds = sorted({item.kind for item in members})
    counts = [sum(item.kind is kind for item in members) for kind in kinds]
    first = members[0]
    digest = hashlib.sha256("\n".join([first.family, str(first.label), *names]).encode())
    return Mode(
        key=digest.hexdigest()[:16],
        kind=kinds[int(np.argmax(counts))],
        family=first.family,
        label=first.label,
        members=tuple(names),
        exemplars=tuple(names[row] for row in shown[: rules.num_exemplars]),
        weight=float(len(members)),
        vectors=vectors,
        weights=weights,
        object_vector=unit(np.mean([item.object_vector for item in members], axis=0)),
        whole=np.stack([item.whole for item in members]),
    )


def _pooled_regions(
    members: Sequence[FailureEvidence], transform: Transform, rules: ModeRules
) -> tuple[FloatArray, FloatArray]:
    """Query regions [Q, W] and weights [Q] of a mode: like regions merged, rare ones dropped."""
    vectors = np.concatenate([item.vectors for item in members]).astype(np.float32)
    weights = np.concatenate([item.weights for item in members]).astype(np.float32)
    if not len(vectors):
        return vectors, weights
    heaviest = np.argsort(-weights, kind="stable")[: rules.max_regions]
    vectors, weights = vectors[heaviest], weights[heaviest] / weights[heaviest].sum()
    labels = linkage.groups(transform(vectors), rules.region_distance)
    shares = np.bincount(labels, weights)
    order = np.argsort(-shares, kind="stable")
    kept = [group for group in order if shares[group] >= rules.min_share] or [int(order[0])]
    kept = kept[: rules.max_queries]
    pooled = [(weights[labels == group, None] * vectors[labels == group]).sum(0) for group in kept]
    total = shares[kept] / shares[kept].sum()
    return unit(np.stack(pooled)), total.astype(np.float32)
