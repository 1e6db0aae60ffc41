"""Long lists in parts: a database bounds the number of parameters of one statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

Value = TypeVar("Value")

PARAMETERS = 500
"""Keys, or rows of up to 60 columns, a statement: SQLite takes 32 766 parameters as it is usually
built, PostgreSQL 65 535."""


def in_batches(values: Sequence[Value], size: int = PARAMETERS) -> Iterator[Sequence[Value]]:
    """The values in parts of a size, in their order; the last may be shorter."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
