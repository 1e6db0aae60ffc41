"""Methods that look inside: do they see the class, and can they be driven to another?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.fidelity.sizes import Sizes
from benchmarks.fidelity.study import Study

Row = dict[str, Any]


def relevance(study: Study, sizes: Sizes) -> Iterator[Row]:
    """Correlation of the relevance maps of two classes, one row a detection and method."""
    yield from ()


def adversarial(study: Study, sizes: Sizes) -> Iterator[Row]:
    """Whether FGVis makes up evidence for an absent class, one row a detection and defence."""
    yield from ()
