"""How the default's passes are best divided between masks and regions that are removed.

On the failures that regions were chosen by (:mod:`benchmarks.fidelity.shares`), so that what is
chosen is judged on others (``rivals``).
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.fidelity import methods
from benchmarks.fidelity.rivals import EQUAL, Rival, Row, harm_of
from benchmarks.fidelity.shares import SEED
from benchmarks.fidelity.sizes import Sizes
from benchmarks.fidelity.study import Study

CHOICES = tuple(
    Rival(label, "equal", methods.OURS, {"num_samples": EQUAL} | given)
    for label, given in (
        ("128 masks", {"first_samples": 0}),
        ("112 masks first", {"first_samples": 112}),
        ("96 masks first", {"first_samples": 96}),
        ("112 masks first, share 0.9", {"first_samples": 112, "region_share": 0.9}),
    )
)


def choices(study: Study, sizes: Sizes) -> Iterator[Row]:
    """One row a planted failure and choice: does the deletion help, is it the cause?"""
    if study.world != "street":
        return
    for case in study.cases(sizes.choice_images, True, seed=SEED):
        for choice in CHOICES:
            yield from harm_of(study, case, choice, "choices")
