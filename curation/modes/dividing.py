"""A mode divided as a person said: known failures stay where they were put, new ones follow."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from curation.kernel.types import FloatArray
from curation.modes.clustering import FailureEvidence, Transform, signature


def divide(
    members: Sequence[FailureEvidence],
    parts: Sequence[Collection[str]],
    transform: Transform,
    references: Sequence[FloatArray | None] = (),
) -> list[list[FailureEvidence]]:
    """Put each failure into a part: where it was put, or where those that are alike are.

    Args:
        members: failures of one family and class.
        parts: failure ids that were put into each part; disjoint.
        transform: the metric of the index.
        references: for each part [2m] as of :func:`curation.modes.clustering.signature`, what it
            was like when it was seen last; it counts where none of the members was put there.

    Returns:
        Members of each part, in their order; a part may be empty. Where a part has neither members
        nor a reference, nothing can be compared with it, and no new failure goes there.
    """
    signatures = np.stack([signature(item, transform) for item in members])
    put = [
        next((number for number, own in enumerate(parts) if item.failure in own), None)
        for item in members
    ]
    means = [
        _mean_of(signatures, put, number, references[number] if references else None)
        for number in range(len(parts))
    ]
    known = [number for number, mean in enumerate(means) if mean is not None]
    found: list[list[FailureEvidence]] = [[] for _ in parts]
    for item, own, row in zip(members, put, signatures, strict=True):
        if own is None:
            likeness = [float(row @ means[number]) for number in known]
            own = known[int(np.argmax(likeness))] if known else 0
        found[own].append(item)
    return found


def _mean_of(
    signatures: FloatArray, put: Sequence[int | None], number: int, reference: FloatArray | None
) -> FloatArray | None:
    """[2m] of unit length; None where nothing is known of a part."""
    rows = [row for row, own in enumerate(put) if own == number]
    mean = signatures[rows].mean(0) if rows else reference
    if mean is None or mean.shape != signatures.shape[1:]:
        return None
    unit: FloatArray = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return unit
