"""What must hold in every project at every moment, and a thorough look at whether it does.

Each examination reads rows and files and writes nothing, so that it may run beside workers: rows
are read in one consistent state, and a file is there before the row that names it. What it finds
says what is wrong and which command mends it.

========== =======================================================================================
database   its own check of its file; no row names another that is not there
images     every image has its file, and the file has the image's hash
datasets   every version has its manifest, named by its hash
models     exactly one champion once there is a model; every folder holds the weights it names
frames     the champion has looked at every frame, or will
failures   what is explained has an explanation, what is fixed says by whom
files      every explanation and every trace of a mode has its file
index      the region index holds what the embeddings say, and its files are what was written
units      nobody holds a unit for ever, and a worker knows every kind
cycles     one runs at most, and it waits for something that comes
drawn      what gave pixels to a kept sample judges nothing
labels     open tasks belong to a cycle that waits for them; counters are what was answered
========== =======================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator

from services.context import Context
from services.upkeep.invariants import files, index, loop, rows
from services.upkeep.invariants.finding import Finding, OnProgress, shortened

__all__ = ["Finding", "check", "examine"]


def check(
    context: Context, *, sample: int | None = None, on_progress: OnProgress | None = None
) -> list[Finding]:
    """Everything that is not as it must be; an empty list for a healthy project.

    Args:
        context: wiring; the database must have its tables.
        sample: so many files of a kind are read at most, spread over all; None: every one. All
            are looked for in any case.
        on_progress: told what is looked at, how much of it is done, and how much there is.
    """
    return list(examine(context, sample=sample, on_progress=on_progress))


def examine(
    context: Context, *, sample: int | None = None, on_progress: OnProgress | None = None
) -> Iterator[Finding]:
    """The same, told as it is found."""
    tell = on_progress or (lambda _what, _done, _all: None)
    yield from shortened(_all(context, sample, tell))


def _all(context: Context, sample: int | None, tell: OnProgress) -> Iterator[Finding]:
    yield from rows.database(context)
    yield from rows.models(context)
    yield from rows.frames(context)
    yield from rows.failures(context)
    yield from loop.units(context)
    yield from loop.cycles(context)
    yield from loop.labels(context)
    yield from rows.drawn(context)
    yield from files.datasets(context, tell)
    yield from files.models(context, tell)
    yield from files.images(context, sample, tell)
    yield from files.explanations(context, sample, tell)
    yield from files.traces(context)
    yield from index.index(context, sample, tell)
