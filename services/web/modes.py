"""Failure modes: a list with size by cycle, one with exemplars and how it came to its state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.context import Context
from services.db.engine import reading
from services.db.tables import (
    TAKEN_BACK,
    Annotation,
    CandidateRow,
    FailureRow,
    Image,
    LabelTask,
    ModeRow,
    SecondLook,
)
from services.labeling import outcomes
from services.modes import decision_rows, trends
from services.report import words
from services.report.page import Outcome, Sparkline
from services.report.trends import sparkline
from services.web import cursors, render, sample_rows, session
from services.web.cursors import MAX_ROW
from services.web.decisions import mergeable

router = APIRouter()
PAGE = 50
THUMBS = 3
ASKED = 24
States = Annotated[str, Query(max_length=20, pattern="^[a-z_]*$")]
Number = Annotated[int, Query(ge=0, le=MAX_ROW)]


@dataclass(frozen=True, slots=True)
class Row:
    """A mode as the list shows it."""

    trend: trends.ModeTrend
    state: Outcome
    kind: str
    spark: Sparkline


def row_of(trend: trends.ModeTrend) -> Row:
    """A mode in words and a line."""
    mode = trend.mode
    kind = words.mode_kind(mode.family, trend.last.kind)
    return Row(trend, words.mode_state(mode.state), kind, sparkline(trend.sizes))


@router.get("/modes")
def modes_page(
    request: Request, user: session.UserOf, state: States = "", before: Number = 0
) -> Response:
    """A page of modes, the newest first; of these what needs work before what is fixed."""
    context: Context = request.app.state.context
    query = select(ModeRow).order_by(ModeRow.id.desc()).limit(PAGE + 1)
    if state:
        query = query.where(ModeRow.state == state)
    if before:
        query = query.where(ModeRow.id < before)
    with reading(context.sessions) as opened:
        found = list(opened.scalars(query))
        shown = found[:PAGE]
        seen = trends.trends(opened, shown) if shown else []
        merged = decision_rows.merged_into(opened)
    more = ""
    if len(found) > PAGE:
        more = cursors.address("/modes", {"state": state}, before=shown[-1].id)
    rows = [row_of(one) for one in trends.worst_first(seen)]
    states = [(name, words.mode_state(name).text) for name in trends.STATE_WORDS]
    values = {"rows": rows, "more": more, "states": states, "state": state, "thumbs": THUMBS}
    values["merged"] = merged
    return render.page(request, "modes.html", values, user)


@router.get("/modes/{mode_id}")
def mode_page(
    request: Request, user: session.UserOf, mode_id: Annotated[int, Path(ge=1, le=MAX_ROW)]
) -> Response:
    """One mode."""
    context: Context = request.app.state.context
    with reading(context.sessions) as opened:
        (trend,) = trends.trends(opened, [trends.find(opened, mode_id)])
        steps = trends.changes(opened, mode_id)
        typical = _exemplars(opened, trend.exemplars)
        asked = _asked(opened, mode_id)
        decided = decision_rows.about(opened, mode_id)
        told = decision_rows.told(opened, decided)
        merged = decision_rows.merged_into(opened)
        root = merged.get(mode_id)
        others = mergeable(opened, trend.mode, merged) if user.may("curate") else []
        drawn, drawing = sample_rows.of_mode(opened, mode_id)
    values = {
        "decided": decided,
        "told": told,
        "root": root,
        "others": others,
        "words": decision_rows.IN_WORDS,
        "row": row_of(trend),
        "steps": [(step, words.mode_state(step.state)) for step in steps],
        "typical": typical,
        "asked": asked,
        "most": ASKED,
        "drawn": drawn,
        "drawn_most": sample_rows.ON_A_MODE,
        "came": words.drawn_in_words(drawing, mode_id),
    }
    return render.page(request, "mode.html", values, user)


def _exemplars(opened: Session, names: tuple[str, ...]) -> list[FailureRow]:
    """The failures that show a mode best, in that order, by one statement."""
    query = select(FailureRow).where(FailureRow.id.in_(names), FailureRow.state.not_in(TAKEN_BACK))
    found = {row.id: row for row in opened.scalars(query)}
    return [found[name] for name in names if name in found]


@dataclass(frozen=True, slots=True)
class Asked:
    """An image that was asked for on a mode's account."""

    candidate: CandidateRow
    image: str
    state: str
    boxes: int | None


def _asked(opened: Session, mode_id: int) -> list[Asked]:
    query = (
        select(CandidateRow, Image.name, LabelTask.state, SecondLook.state, Annotation)
        .join(Image, Image.id == CandidateRow.image_id)
        .outerjoin(
            LabelTask,
            (LabelTask.cycle_id == CandidateRow.cycle_id)
            & (LabelTask.image_id == CandidateRow.image_id),
        )
        .outerjoin(SecondLook, SecondLook.task_id == LabelTask.id)
        .outerjoin(Annotation, Annotation.id == LabelTask.annotation_id)
        .where(CandidateRow.mode_id == mode_id)
        .order_by(CandidateRow.id.desc())
        .limit(ASKED)
    )
    return [
        Asked(
            candidate,
            name,
            outcomes.words_of(state, look),
            None if answer is None else len(answer.objects),
        )
        for candidate, name, state, look, answer in opened.execute(query)
    ]
