"""``e2x doctor --deep``: every row and file against each other, and what can be made again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from rich.progress import TaskID

from services import context as wiring
from services.cli.findings import Finding
from services.cli.follow import progress
from services.config.settings import Settings


def examine(settings: Settings, sample: int | None, mend: bool) -> Iterator[Finding]:
    """What the project's invariants say, one line where all of them hold.

    Args:
        settings: of the project, which is there and has its tables.
        sample: files of a kind to read at most; None: all.
        mend: whether to have made again what can be, before the look.
    """
    from services.upkeep import invariants
    from services.upkeep.invariants.mend import mend as made_again

    context = wiring.build(settings)
    try:
        if mend:
            for line in made_again(context):
                yield Finding("mended", "ok", line)
        with progress() as bars:
            tasks: dict[str, TaskID] = {}

            def tell(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=total, note="")
                bars.update(tasks[what], completed=done)

            broken = invariants.check(context, sample=sample, on_progress=tell)
    finally:
        context.engine.dispose()
    yield from (Finding(**asdict(finding)) for finding in broken)
    if not broken:
        read = "every file was read" if sample is None else f"{sample} files of a kind were read"
        yield Finding("invariants", "ok", f"all hold; {read}")
