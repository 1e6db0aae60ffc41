"""What a labelling tool is asked to do, and what is said of tasks on the way there and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A task as a tool is given it.

    Attributes:
        task_id: of the task.
        image_id: SHA-256 of the image's bytes, hexadecimal.
        size_wh: of the image, px.
        picture_url: signed, good for a while.
        name: that the image came in with.
        reason: why it is asked for, for people.
        prelabels: ``[{"box": [x1, y1, x2, y2] px, "label", "score"}]``.
        model: whose pre-labels they are.
    """

    task_id: int
    image_id: str
    size_wh: tuple[int, int]
    picture_url: str
    name: str
    reason: str
    prelabels: Sequence[Mapping[str, Any]]
    model: str


@dataclass(frozen=True, slots=True)
class Said:
    """What one person said of a task in a tool.

    Attributes:
        key: the tool's id of it.
        at: when it was last changed, as the tool tells it; later is greater.
        author: who.
        skipped: it is no answer, but that the person wants to give none.
        objects: ``[{"box": [x1, y1, x2, y2] px, "label"}]``.
        problem: why it cannot be read; "" where it can.
        by_hand: whether a person is known to have worked on it, and not a program.
        settled: whether somebody has marked it as the right one.
    """

    key: str
    at: str
    author: str
    skipped: bool = False
    objects: Sequence[dict[str, Any]] = ()
    problem: str = ""
    by_hand: bool = True
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Remote:
    """A task of ours in a tool.

    Attributes:
        remote_id: the tool's id of it.
        task_id: ours.
        image_id: ours, as it was sent.
        changed: when it, or what is said of it, last changed.
        said: by whom what was said.
        begun: whether somebody has begun and not handed in.
    """

    remote_id: str
    task_id: int
    image_id: str
    changed: str
    said: tuple[Said, ...] = ()
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """The project of a tool, ready to be sent tasks.

    Attributes:
        project: the tool's id of it.
        layout: what the tool calls its parts.
        notes: what a person should know.
    """

    project: str
    layout: dict[str, Any]
    notes: list[str] = field(default_factory=list)


Sizes = Mapping[int, tuple[int, int]]
"""Width and height, px, of the images of our tasks; what is in no such mapping is not ours."""


class Tool(Protocol):
    """A labelling tool over its network.

    Every method may raise ToolUnavailable (try again later), NotAllowed (the token is refused),
    NotFound (the project is gone) or InvalidRequest (it does not fit), and nothing else.
    """

    @property
    def name(self) -> str:
        """For people."""
        ...

    def prepare(
        self, project: str | None, adopted: bool, mark: str, title: str, classes: Sequence[str]
    ) -> Prepared:
        """Make, find or look at the project; once more is harmless.

        Args:
            project: the tool's id; None: one with our mark, which is made where there is none.
            adopted: whether a person made it, so that it is not changed.
            mark: tells our tasks and project from others'.
            title: of a new project.
            classes: of this project.
        """
        ...

    def push(self, tasks: Sequence[Outgoing]) -> dict[int, str]:
        """Give tasks; the tool's ids of those that are known to have arrived, by ours."""
        ...

    def ask(self, remote_id: str, people: int) -> None:
        """Have so many people answer a task, where the tool offers a task to several at all."""
        ...

    def find(self, task_ids: Collection[int], after: str | None) -> dict[int, str]:
        """Which of these have arrived.

        Args:
            task_ids: ours.
            after: look only at what came later than this task of the tool; None: at all.
        """
        ...

    def changed(self, since: str | None, sizes: Sizes) -> tuple[list[Remote], str | None]:
        """Tasks of ours that changed, and until when that is all.

        Args:
            since: where the last call ended; what changed shortly before is told again.
            sizes: of the images of our tasks.
        """
        ...

    def read(self, remote_ids: Collection[str], sizes: Sizes) -> list[Remote]:
        """These tasks as they are now; those that are gone are left out."""
        ...

    def ids(self) -> set[str]:
        """The tool's ids of all tasks of the project."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...

    def point(self, remote_id: str, task: Outgoing) -> None:
        """Give a task the new address of its picture."""
        ...

    def withdraw(self, remote_ids: Collection[str]) -> None:
        """Take tasks away that nobody has begun."""
        ...
