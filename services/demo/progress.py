"""Progress bars of the demo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One step's bar."""

    progress: Progress
    task: TaskID

    def to(self, done: int) -> None:
        """So many are done."""
        self.progress.update(self.task, completed=done)

    def of(self, done: int, total: int) -> None:
        """So many of so many are done."""
        self.progress.update(self.task, completed=done, total=total)


@dataclass(frozen=True, slots=True)
class Board:
    """All bars; a finished one leaves its line with the time that it took."""

    console: Console

    @contextmanager
    def bar(self, title: str, total: int | None) -> Iterator[Bar]:
        """A bar for the length of a block.

        Args:
            title: of the step.
            total: things to do; None until it is known.
        """
        columns = (
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description:<42}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        # Often enough to be seen to move; ten times a second cost a twentieth of a core.
        with Progress(*columns, console=self.console, refresh_per_second=3) as progress:
            task = progress.add_task(title, total=total)
            yield Bar(progress, task)
            seen = progress.tasks[0]
            progress.update(task, total=max(seen.completed, 1), completed=max(seen.completed, 1))
