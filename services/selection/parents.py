"""Field frames that teach: dealt from the modes, and those that people are asked to label first.

A frame that failed holds the cause for certain, so that it comes before every pool image. One whose
truth is known costs nothing: the next dataset version has it. Of the others, an operator has said
what was wrong, and people are asked for the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import select as policies
from curation.modes import FailureEvidence, Mode
from curation.modes.dealing import Side, by_hash, deal
from curation.select.base import Ledger
from services.context import Context
from services.db import sides
from services.db.engine import reading
from services.db.parts import in_parts
from services.db.tables import Annotation, Image, LabelTask, Observation, Role, TaskState
from services.failures.findings import DISMISSED_FLAG
from services.selection.inputs import barred_hashes
from services.selection.readable import unreadable

SHARE = "field frame"
"""What such an image is paid from, as people read it."""


@dataclass(frozen=True, slots=True)
class Parents:
    """How the frames of the modes to fix are dealt, and what follows for the selection.

    Attributes:
        sides: of their groups, new ones included; to be stored.
        asked: frames to label, the first first, within the budget.
        said: what is known to be there in each of them, as boxes to begin with.
        failures: the failure that each of them is asked for.
        hashes: perceptual hashes of all parents, whose like teaches nothing new, and of all judges,
            whose like would teach what they ask: nobody is asked for either.
        barred: pool images of groups that judge.
        with_truth: frames that teach as they are.
        to_label: frames that teach once they are labelled, whether or not they are asked for now.
        judges: frames that judge.
        taught: by key of a mode, boxes of its frames that teach: of those whose truth is known, and
            of those that were asked for or are asked for now.
    """

    sides: dict[str, Side] = field(default_factory=dict)
    asked: list[policies.Candidate] = field(default_factory=list)
    said: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    hashes: tuple[int, ...] = ()
    barred: frozenset[str] = frozenset()
    with_truth: int = 0
    to_label: int = 0
    judges: int = 0
    taught: Mapping[str, float] = field(default_factory=dict)

    @property
    def boxes(self) -> int:
        """What those that are asked for cost."""
        return sum(candidate.cost_boxes for candidate in self.asked)


@dataclass(frozen=True, slots=True)
class _Frames:
    """Rows of frames that teach: their images, what was said, and which need nobody's answer.

    ``labelled`` has the number of true boxes of each that is.
    """

    images: dict[str, Image]
    reports: dict[str, list[dict[str, Any]]]
    labelled: dict[str, int]
    asked_before: frozenset[str]


def deal_frames(
    context: Context,
    known: Sequence[FailureEvidence],
    modes: Sequence[Mode],
    price: float,
    budget_boxes: int,
    barred: Collection[str] = (),
) -> Parents:
    """Deal the frames of modes, and choose which of those that teach are labelled now.

    Args:
        context: wiring.
        known: the evidence that the modes were made of.
        modes: those to fix, by falling size.
        price: boxes that a frame costs at least: nobody has counted what is in it.
        budget_boxes: boxes to label.
        barred: frames that nobody is asked for, such as struck ones.
    """
    frames = frames_of(known, modes)
    counted = groups_of(frames)
    share = context.settings.selection.learn_from_field
    with reading(context.sessions) as session:
        before = sides.known(session, {group for own in counted.values() for group in own})
        dealt = deal(counted, before, share, _siblings_judge(session))
        groups = {frame: group for own in frames.values() for frame, group in own.items()}
        teaching = [one for one, group in groups.items() if dealt.get(group) is Side.PARENT]
        rows = _read(session, teaching)
        kept = sides.kept_for_judges(session, dealt)
    asked = _ask(context, rows, frames, teaching, price, budget_boxes, barred)
    first = {item.frame: item.failure for item in reversed(known)}
    return Parents(
        sides=dealt,
        asked=asked,
        said={one.image: _as_prelabels(rows.reports.get(one.image, [])) for one in asked},
        failures={one.image: first[one.image] for one in asked},
        hashes=tuple(sorted({int(row.perceptual_hash, 16) for row in rows.images.values()}))
        + kept.hashes,
        barred=kept.images,
        with_truth=len(rows.labelled),
        to_label=len(teaching) - len(rows.labelled),
        judges=sum(dealt.get(group) is Side.JUDGE for group in groups.values()),
        taught=_taught(rows, frames, {one.image for one in asked}, price),
    )


def frames_of(known: Sequence[FailureEvidence], modes: Sequence[Mode]) -> dict[str, dict[str, str]]:
    """The group of each frame, by mode; a frame of no group is a group by itself."""
    by_failure = {item.failure: item for item in known}
    return {
        mode.key: {
            by_failure[name].frame: by_failure[name].group or by_failure[name].frame
            for name in mode.members
        }
        for mode in modes
    }


def groups_of(frames: Mapping[str, Mapping[str, str]]) -> dict[str, Counter[str]]:
    """How many frames of each group a mode has, by mode: what ``curation.modes.dealing`` asks."""
    return {key: Counter(own.values()) for key, own in frames.items()}


def _siblings_judge(session: Session) -> bool:
    query = select(Annotation.id).join(Image, Image.id == Annotation.image_id)
    return session.scalar(query.where(Image.role == Role.SIBLINGS).limit(1)) is not None


def _read(session: Session, image_ids: Sequence[str]) -> _Frames:
    ids = sorted(image_ids)
    images, reports = dict[str, Image](), dict[str, list[dict[str, Any]]]()
    labelled, asked = dict[str, int](), set[str]()
    for part in in_parts(ids):
        images |= {row.id: row for row in session.scalars(select(Image).where(Image.id.in_(part)))}
        for seen in session.scalars(select(Observation).where(Observation.image_id.in_(part))):
            reports[seen.image_id] = list(seen.reports)
        truth = select(Annotation).where(Annotation.image_id.in_(part))
        for row in session.scalars(truth.order_by(Annotation.revision)):  # the greatest counts
            labelled[row.image_id] = sum(not one.get("ignore") for one in row.objects)
        asked |= set(
            session.scalars(
                select(LabelTask.image_id).where(
                    LabelTask.image_id.in_(part), LabelTask.state != TaskState.SKIPPED
                )
            )
        )
    return _Frames(images, reports, labelled, frozenset(asked))


def _ask(
    context: Context,
    rows: _Frames,
    frames: dict[str, dict[str, str]],
    teaching: Sequence[str],
    price: float,
    budget_boxes: int,
    barred: Collection[str],
) -> list[policies.Candidate]:
    """Frames to label: the modes take turns, and near-duplicates are asked for once."""
    done = rows.labelled.keys() | rows.asked_before | frozenset(barred)
    if not set(teaching) - done:
        return []
    pool = {
        image_id: policies.PoolImage(
            image=image_id,
            boxes_estimate=_estimate(rows, image_id, price),
            phash=int(row.perceptual_hash, 16),
        )
        for image_id, row in rows.images.items()
    }
    request = policies.SelectionRequest(
        pool=list(pool.values()),
        queries=[],
        budget=policies.Budget(boxes=budget_boxes),
        rng=np.random.default_rng(0),
        excluded=frozenset(done),
        excluded_hashes=barred_hashes(context),
    )
    ledger = Ledger(request)
    for mode, image_id in _in_turns(frames, set(pool)):
        image = pool[image_id]
        if not ledger.admits(image) or unreadable(context, [image_id]):
            continue
        reason = "a frame that failed: it holds the cause for certain"
        ledger.take(
            image, policies.Candidate(image_id, 1.0, mode, SHARE, image.cost_boxes, (), reason)
        )
    return ledger.taken


def _estimate(rows: _Frames, image_id: str, price: float) -> float:
    """Boxes of a frame that nobody has labelled: what was said is there at least."""
    return max(price, len(_as_prelabels(rows.reports.get(image_id, []))))


def _taught(
    rows: _Frames, frames: Mapping[str, Mapping[str, str]], asked: set[str], price: float
) -> dict[str, float]:
    """Boxes that teach each mode; a frame of several modes counts in each."""
    boxes = {one: _estimate(rows, one, price) for one in asked | rows.asked_before} | rows.labelled
    return {key: sum(boxes.get(frame, 0.0) for frame in own) for key, own in frames.items()}


def _in_turns(frames: dict[str, dict[str, str]], teaching: set[str]) -> Iterator[tuple[str, str]]:
    """Mode and frame: the first of each mode, the second of each, and so on."""
    orders = [
        [(key, frame) for frame in by_hash(set(own) & teaching)] for key, own in frames.items()
    ]
    for turn in zip_longest(*orders):
        yield from (one for one in turn if one is not None)


def _as_prelabels(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What an operator said is there; a report of a false detection says what is not."""
    return [
        {"box": report["box"], "label": report["label"], "score": 1.0}
        for report in reports
        if report["kind"] != "false" and not report.get(DISMISSED_FLAG)
    ]
