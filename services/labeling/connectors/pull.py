"""Answers in from a tool: each is stored once, and what cannot be taken is told.

What counts is the latest answer, or the one that somebody in the tool has marked as right. One that
only repeats what was offered, the pre-labels or nothing, counts only where a person is known to
have worked on it and its picture was loaded: a page submits what it shows, also where the picture
did not come.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.kernel.errors import CurationError
from services.context import Context
from services.cycle.label_tasks import CLOSED
from services.db import actors
from services.db.actors import Actor, Door
from services.db.base import utc_now
from services.db.races import in_transaction
from services.db.tables import (
    Connection,
    LabelTask,
    SecondLook,
    SentState,
    SentTask,
    TaskState,
)
from services.errors import ServiceError
from services.labeling import answers, outcomes, queue, second_look, taking
from services.labeling.connectors.connections import give_back
from services.labeling.connectors.protocol import Remote, Said
from services.labeling.taking import Answer, LabelImport, Unsaid, same_boxes

UNSEEN: Mapping[str, str] = {
    "empty": "it says that nothing is there",
    "untouched": "it repeats the pre-labels",
}
NOT_KNOWN = "nobody is known to have looked: `e2x labels sync --take-unseen` takes it all the same"


@dataclass(slots=True)
class Pulled:
    """What an exchange brought.

    Attributes:
        report: what became of the answers, as of those of a file.
        skipped: tasks that somebody wants to give no answer to.
        deleted: answers that were deleted there, and stay here.
    """

    report: LabelImport = field(default_factory=LabelImport)
    skipped: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class _News:
    """What is new of one task.

    Attributes:
        row: that it was sent with.
        said: by everybody, in all copies that the tool has of it.
    """

    row: SentTask
    said: Sequence[Said]

    @property
    def seen(self) -> dict[str, str]:
        return {one.key: one.at for one in self.said}

    @property
    def answer(self) -> Said | None:
        """The one that counts."""
        given = [one for one in self.said if not one.skipped]
        return max(given, key=lambda one: (one.settled, one.at, one.key), default=None)

    def turns(self, look: SecondLook | None) -> list[Said]:
        """What two people say who do not see each other's answer, the earlier first.

        Of each the latest; of one whose answer is here already, only where nobody else says more.
        """
        latest: dict[str, Said] = {}
        for one in sorted(self.said, key=lambda one: (one.at, one.key)):
            if not one.skipped:
                latest[one.author.lower()] = one
        known = set()
        if look is not None:
            known = {look.first_author.lower(), (look.second_author or "").lower()}
        given = sorted(latest.values(), key=lambda one: (one.at, one.key))
        new = [one for one in given if one.author.lower() not in known]
        return new[:1] if new and known else (new or given)[:2]


def store(
    context: Context, number: int, remotes: Sequence[Remote], cursor: str | None, unseen: bool
) -> Pulled:
    """Store what is new, and how far the tool was read, in one transaction.

    All answers are in before a cycle goes on, as with a file.

    Args:
        context: wiring.
        number: of the connection.
        remotes: tasks as the tool has them.
        cursor: where the next exchange begins.
        unseen: whether to take also what nobody is known to have looked at.
    """

    def work(session: Session) -> Pulled:
        pulled = Pulled()
        news = _news(session, number, remotes)
        queue.hold(session, [one.row.task_id for one in news])
        turns = _turns(session, context, news)
        for one in news:
            one.row.problem = None
        for turn in (0, 1):  # the second answer to a task is held against the first
            given = [(one, said[turn]) for one, said in turns if len(said) > turn]
            found = [
                answer
                for one, said in given
                if (answer := _read(session, context, one, said, unseen))
            ]
            taking.store(session, context.settings.labels, found, "", False, pulled.report)
        tasks = queue.hold(session, [one.row.task_id for one in news])
        _note(session, news, pulled)
        queue.moved(session, context, *tasks)
        for one in news:
            _skip(session, context, one, pulled)
        session.get_one(Connection, number).cursor = cursor
        return pulled

    return in_transaction(context.sessions, work)


def _news(session: Session, number: int, remotes: Sequence[Remote]) -> list[_News]:
    said: dict[int, list[Said]] = defaultdict(list)
    images = {one.task_id: one.image_id for one in remotes}
    for one in remotes:
        said[one.task_id] += one.said
    rows = session.scalars(
        select(SentTask)
        .where(SentTask.connection_id == number, SentTask.task_id.in_(list(said)))
        .order_by(SentTask.task_id)
    )
    news = [_News(row, said[row.task_id]) for row in rows if images[row.task_id] == row.image_id]
    return [one for one in news if one.row.problem or one.seen != one.row.seen]


def _turns(
    session: Session, context: Context, news: Sequence[_News]
) -> list[tuple[_News, Sequence[Said]]]:
    """The answers to take to each task: the one that counts, or of two people each their own."""
    labels, looks = (
        context.settings.labels,
        second_look.of_all(session, [n.row.task_id for n in news]),
    )
    found: list[tuple[_News, Sequence[Said]]] = []
    for one in news:
        task, look = session.get_one(LabelTask, one.row.task_id), looks.get(one.row.task_id)
        # What was decided without a second look is corrected like any other answer.
        twice = look is not None or task.state != TaskState.SUBMITTED
        if twice and second_look.is_for_two(labels, task, look):
            found.append((one, one.turns(look)))
        elif one.answer is not None:
            found.append((one, [one.answer]))
    return found


def _read(
    session: Session, context: Context, one: _News, said: Said, unseen: bool
) -> Answer | None:
    """An answer, checked; None where it is not fit."""
    row = one.row
    if said.problem:
        row.problem = f"by {said.author}: {said.problem}"
        return None
    task = session.get_one(LabelTask, row.task_id)
    most = context.settings.ingest.max_objects
    try:
        where = _where(row)
        objects = answers.read(session, row.image_id, [*said.objects], where, most)[1]
    except (CurationError, ServiceError) as error:
        row.problem = f"by {said.author}: {error}"
        return None
    unsaid: Unsaid = ""
    if not (unseen or (said.by_hand and row.loaded_at is not None)):
        unsaid = "" if objects else "empty"
        unsaid = "untouched" if objects and same_boxes(objects, task.prelabels) else unsaid
    _open_again(session, task, row)
    # What two people have agreed on, or a curator has settled, no edit of one of them undoes.
    corrects = None if second_look.of(session, task) is not None else row.annotation_id
    return Answer(where, row.task_id, objects, unsaid, said.author, row.token, corrects)


def _open_again(session: Session, task: LabelTask, row: SentTask) -> None:
    """Let a task be answered that somebody in this tool had skipped before."""
    if row.state != SentState.SKIPPED or task.state != TaskState.SKIPPED or answers.is_closed(task):
        return
    if answers.counts_now(session, task):
        task.state, task.note, task.finished_at, row.token = (
            TaskState.LEASED,
            None,
            None,
            task.token,
        )
    else:
        task.note = f"{CLOSED}skipped before it was answered"


def _note(session: Session, news: Sequence[_News], pulled: Pulled) -> None:
    """Write down what became of each answer."""
    report = pulled.report
    wrong = {one.where: one.message.removeprefix("left out: ") for one in report.problems}
    wrong |= {
        where: f"{UNSEEN[why]}, and {NOT_KNOWN}"
        for why, several in (("empty", report.left_empty), ("untouched", report.left_untouched))
        for where in several
    }
    for one in news:
        row, said = one.row, one.answer
        before, row.seen = row.seen, one.seen
        if said is None:
            row.problem = None
            if before and not one.said and row.state == SentState.ANSWERED:
                row.note = "its answer was deleted there; the one that is stored stays"
                pulled.deleted += 1
            continue
        if row.problem:
            report.leave_out(_where(row), row.problem)
            continue
        row.problem = wrong.get(_where(row))
        if row.problem is None:
            task = session.get_one(LabelTask, row.task_id)
            row.state, row.annotation_id = SentState.ANSWERED, task.annotation_id
            look = second_look.of(session, task)
            row.note = (
                _differ(one, said) if look is None else outcomes.WORDS[outcomes.of(task, look)]
            )


def _differ(one: _News, counts: Said) -> str | None:
    """That people do not agree; None where they do."""
    others = {
        other.author for other in one.said if not other.skipped and not _is_same(other, counts)
    }
    if not others:
        return None
    why = "marked as right" if counts.settled else "the latest"
    return f"{', '.join(sorted(others))} answered otherwise; that of {counts.author} counts: {why}"


def _is_same(one: Said, other: Said) -> bool:
    return not one.problem and same_boxes(one.objects, other.objects)


def _skip(session: Session, context: Context, one: _News, pulled: Pulled) -> None:
    """Skip a task that everybody who looked has skipped, after all answers are stored."""
    row = one.row
    skips = [said for said in one.said if said.skipped]
    if one.answer is not None or not skips or row.state not in (SentState.SENT, SentState.SENDING):
        return
    last = max(skips, key=lambda said: said.at)
    with actors.acting(Actor(last.author, Door.TOOL)):
        try:
            queue.skip(session, context, row.task_id, row.token, f"skipped by {last.author}")
        except ServiceError as error:
            row.problem = str(error)
            return
    row.state = SentState.SKIPPED
    pulled.skipped += 1


def gone(context: Context, number: int, ids: set[str]) -> int:
    """Give back tasks that somebody has deleted in the tool; they are not sent there again."""

    def work(session: Session) -> int:
        rows = [
            row
            for row in session.scalars(
                select(SentTask).where(
                    SentTask.connection_id == number, SentTask.state == SentState.SENT
                )
            )
            if row.remote_id not in ids
        ]
        give_back(session, rows)
        for row in rows:
            row.note = f"it was deleted there, seen {utc_now():%Y-%m-%d %H:%M}"
        return len(rows)

    return in_transaction(context.sessions, work)


def _where(row: SentTask) -> str:
    return f"task {row.task_id}"
