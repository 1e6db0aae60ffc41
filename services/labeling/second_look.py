"""Second looks: some tasks are answered by two people, who do not see each other's answer.

The first answer is kept beside the truth, and the task goes back to the queue for somebody else.
Where both say the same, the first answer becomes the truth; where not, a curator who gave neither
settles it. Until then the task is open and nothing of it is in any dataset.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from curation.kernel.agreement import VERDICTS, Pair, compare
from services.accounts import audit
from services.config.setting_groups import LabelSettings
from services.db.base import utc_now
from services.db.parts import in_parts
from services.db.tables import LabelTask, LookState, SecondLook, TaskState
from services.errors import Conflict, NotFound
from services.plain import plain_text

Objects = Sequence[dict[str, Any]]
DECIDED = (LookState.AGREED, LookState.SETTLED)
MOST_COUNTED = 5000
"""Newest second looks that the agreement is told from."""


def is_chosen(share: float, task: LabelTask) -> bool:
    """Whether a task is one of the share that goes to a second person; always the same ones."""
    name = f"{task.cycle_id}:{task.image_id}"
    drawn = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48
    return drawn < share


def for_two(session: Session, settings: LabelSettings, task_ids: Sequence[int]) -> list[int]:
    """Which of these tasks nobody has answered yet, and two people shall."""
    tasks = session.scalars(select(LabelTask).where(LabelTask.id.in_(task_ids)))
    begun = of_all(session, task_ids)
    return [
        task.id for task in tasks if task.id not in begun and is_chosen(settings.second_look, task)
    ]


def is_for_two(settings: LabelSettings, task: LabelTask, look: SecondLook | None) -> bool:
    """Whether its answer becomes the truth only if another person says the same."""
    return look is not None or is_chosen(settings.second_look, task)


def mine(owner: str) -> ColumnElement[bool]:
    """Whether somebody gave the first answer to a task, which waits for a second."""
    given = select(SecondLook.task_id).where(
        SecondLook.state == LookState.WAITING,
        # Both by the database: that of a file knows no case but that of plain letters.
        func.lower(SecondLook.first_author) == func.lower(owner),
    )
    return LabelTask.id.in_(given)


def of(session: Session, task: LabelTask) -> SecondLook | None:
    """The second look at a task, if there is one."""
    return session.get(SecondLook, task.id)


def of_all(session: Session, task_ids: Collection[int]) -> dict[int, SecondLook]:
    """Second looks by task, of those that have one."""
    found: dict[int, SecondLook] = {}
    for part in in_parts(sorted(task_ids)):
        query = select(SecondLook).where(SecondLook.task_id.in_(part))
        found |= {look.task_id: look for look in session.scalars(query)}
    return found


def said_again(look: SecondLook, token: int, objects: Objects) -> bool:
    """Whether an answer is one of those that are here already, sent once more.

    Raises:
        Conflict: it is another one under the same lease.
    """
    for known, stored in ((look.first_token, look.first), (look.second_token, look.second)):
        if token == known:
            if stored == list(objects):
                return True
            raise Conflict(
                f"task {look.task_id} is being looked at by a second person: what was answered "
                "first stays as it is"
            )
    return False


def has_said(look: SecondLook, person: str, objects: Objects) -> bool:
    """Whether this is an answer of that person that is here already."""
    said = ((look.first_author, look.first), (look.second_author or "", look.second))
    return any(who.lower() == person.lower() and own == list(objects) for who, own in said)


def refuse_same(look: SecondLook, person: str) -> None:
    """Refuse a second answer of whoever gave the first.

    Raises:
        Conflict: it is the same person, or nobody's answer is wanted any more.
    """
    if look.state != LookState.WAITING:
        raise Conflict(f"task {look.task_id} has two answers: a curator settles it at /looks")
    if look.first_author.lower() == person.lower():
        raise Conflict(
            f"task {look.task_id} is waiting for a second person: {person or 'its author'} has "
            "answered it already"
        )


def take(
    session: Session,
    settings: LabelSettings,
    task: LabelTask,
    objects: Objects,
    person: str,
    closed: bool = False,
) -> tuple[Objects, str] | None:
    """Take an answer to a task that is open and held: as the first, the second, or as the truth.

    Args:
        session: the caller's transaction.
        settings: the share, and from which IoU boxes are the same.
        task: answered by ``person`` now.
        objects: the answer, checked.
        person: who answers.
        closed: the cycle has gone on without the task: nobody new is asked about it.

    Returns:
        Objects that are the truth now, and who gave them first ("" where nobody had to agree); None
        while that is not decided.

    Raises:
        Conflict: the same person has given the first answer.
    """
    look = of(session, task)
    if look is None:
        if closed or not is_chosen(settings.second_look, task):
            return objects, ""
        session.add(
            SecondLook(
                task_id=task.id, first=list(objects), first_author=person, first_token=task.token
            )
        )
        _back(task, TaskState.WAITING)
        audit.record(session, "task.first_answer", f"task:{task.id}", objects=len(objects))
        session.flush()
        return None
    refuse_same(look, person)
    look.second, look.second_author, look.second_at = list(objects), person, utc_now()
    look.second_token = task.token
    pairs = pairs_of(look, settings.second_look_iou)
    look.counts = _counts(look, pairs)
    agreed = all(pair.verdict == "same" for pair in pairs)
    look.state = LookState.AGREED if agreed else LookState.DISPUTED
    audit.record(
        session, "task.second_answer", f"task:{task.id}", objects=len(objects), agreed=agreed
    )
    if agreed:
        look.taken = "first"
        session.flush()
        return look.first, look.first_author
    _back(task, None if closed else TaskState.DISPUTED)
    session.flush()
    return None


def left(session: Session, task: LabelTask, person: str, note: str, closed: bool) -> bool:
    """A second person has skipped or rejected a task: a curator decides; False if it had no first.

    The first answer is not thrown away for that.
    """
    look = of(session, task)
    if look is None or look.state != LookState.WAITING:
        return False
    refuse_same(look, person)
    look.state, look.second_author, look.second_at = LookState.DISPUTED, person, utc_now()
    look.second_token, look.note = task.token, plain_text(note, 2000, lines=True)
    _back(task, None if closed else TaskState.DISPUTED)
    session.flush()
    return True


def pairs_of(look: SecondLook, min_iou: float) -> list[Pair]:
    """Both answers compared, box by box; nothing where the second person gave none."""
    if look.second is None:
        return []
    sides = [(_boxes(side), [_class(one) for one in side]) for side in (look.first, look.second)]
    return compare(*sides[0], *sides[1], min_iou)


def find(session: Session, task_id: int) -> SecondLook:
    """What two people said of a task.

    Raises:
        NotFound: there is none, or the second answer is not in: nobody shall see the first before.
    """
    look = session.get(SecondLook, task_id)
    if look is None or (look.state == LookState.WAITING and not _is_stuck(session, look)):
        raise NotFound(f"no second look at task {task_id} to be seen")
    return look


def require_open(look: SecondLook, reviewer: str, taken: str) -> None:
    """Refuse to settle what is decided, what one has said oneself, and what nobody has said.

    Raises:
        Conflict: see above.
    """
    if look.state in DECIDED:
        raise Conflict(f"task {look.task_id} is {look.state} already")
    if reviewer.lower() in (look.first_author.lower(), (look.second_author or "").lower()):
        raise Conflict("one of the two answers is yours: somebody else has to settle it")
    if taken == "second" and look.second is None:
        raise Conflict(f"task {look.task_id} has no second answer")


def to_settle() -> Select[SecondLook]:
    """Second looks that a curator has to settle: disputed ones, and those that nobody else gave."""
    ended = (TaskState.WAITING, TaskState.LEASED)
    return (
        select(SecondLook)
        .join(LabelTask, LabelTask.id == SecondLook.task_id)
        .where(
            (SecondLook.state == LookState.DISPUTED)
            | ((SecondLook.state == LookState.WAITING) & LabelTask.state.not_in(ended))
        )
    )


def _is_stuck(session: Session, look: SecondLook) -> bool:
    """Whether the cycle went on before a second person came."""
    state = session.get_one(LabelTask, look.task_id).state
    return state not in (TaskState.WAITING, TaskState.LEASED)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often one labeller, or a class, says the same as another person.

    Attributes:
        who: of the labeller; "" for all.
        label: the class; "" for all.
        images: looked at twice.
        counts: objects by verdict, see :mod:`curation.kernel.agreement`.
    """

    who: str
    label: str
    images: int
    counts: dict[str, int]

    @property
    def share(self) -> float | None:
        """Of the objects of either, those that both have alike; None: there was none."""
        total = sum(self.counts.values())
        return self.counts["same"] / total if total else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "who": self.who,
            "label": self.label,
            "images": self.images,
            "share": self.share,
            **self.counts,
        }


def agreement(session: Session) -> list[Agreement]:
    """Agreement of all, by class, by labeller and by both, from the newest second looks."""
    rows = session.execute(
        select(SecondLook.counts, SecondLook.first_author, SecondLook.second_author)
        .where(SecondLook.second_at.is_not(None))
        .order_by(SecondLook.second_at.desc())
        .limit(MOST_COUNTED)
    )
    sums: dict[tuple[str, str], np.ndarray[Any, Any]] = defaultdict(
        lambda: np.zeros(len(VERDICTS), np.int64)
    )
    images: dict[tuple[str, str], int] = defaultdict(int)
    for counts, first, second in rows:
        if not counts:
            continue
        for who in {"", first, second}:
            images[who, ""] += 1
            for label, numbers in counts.items():
                images[who, label] += 1
                sums[who, ""] += numbers
                sums[who, label] += numbers
    return [
        Agreement(*key, images[key], dict(zip(VERDICTS, (int(n) for n in sums[key]), strict=True)))
        for key in sorted(images)
    ]


def _counts(look: SecondLook, pairs: Sequence[Pair]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for pair in pairs:
        alone = pair.first is None
        one = (look.second or [])[pair.second or 0] if alone else look.first[pair.first or 0]
        label = str(one["label"])
        found.setdefault(label, [0] * len(VERDICTS))[VERDICTS.index(pair.verdict)] += 1
    return found or {"": [0] * len(VERDICTS)}


def _boxes(objects: Objects) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array([one["box"] for one in objects], np.float32).reshape(-1, 4)


def _class(entry: dict[str, Any]) -> str:
    return f"{entry['label']}{' (ignored)' if entry.get('ignore') else ''}"


def _back(task: LabelTask, state: TaskState | None) -> None:
    """Let nobody hold a task any more, and its old lease answer nothing; None: as it is."""
    task.state = state or task.state
    task.owner, task.lease_until = None, None
    task.token += 1


def disputes(look: SecondLook, min_iou: float) -> Iterator[str]:
    """What two people differ in, a line each."""
    second = look.second or []
    for pair in pairs_of(look, min_iou):
        match pair.verdict:
            case "box":
                label = look.first[pair.first or 0]["label"]
                yield f"{label}: boxes overlap by {pair.iou:.0%} (IoU)"
            case "class":
                names = _class(look.first[pair.first or 0]), _class(second[pair.second or 0])
                yield f"{names[0]} or {names[1]}, overlap {pair.iou:.0%}"
            case "first":
                yield f"{_class(look.first[pair.first or 0])}: only the first has it"
            case "second":
                yield f"{_class(second[pair.second or 0])}: only the second has it"
            case _:
                pass
