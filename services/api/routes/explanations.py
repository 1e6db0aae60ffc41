"""Explanations that people ask for, by any method, with their cost before they run."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from curation.explain.what import What
from services.api.deps import IN_A_PLACE_TO_DRAW, ContextOf, SessionOf, ViewOf
from services.api.schemas import Page
from services.api.schemas_looks import AskedOut, AskIn, PriceOut
from services.api.strict import StrictRoute
from services.db.tables import AskedExplanation, FailureRow
from services.errors import NotFound
from services.failures import asked, asked_rows
from services.failures.asked import Wish
from services.store import drawings

router = APIRouter(tags=["failures"], route_class=StrictRoute)
_ANY = "|".join(What)


@router.get("/failures/{failure_id}/explanations", response_model=Page[AskedOut])
def list_asked(failure_id: str, session: ViewOf) -> Page[AskedOut]:
    """What people have asked about a failure, in the order of asking, and how far it is."""
    _failure(session, failure_id)
    return Page(items=[_out(one) for one in asked_rows.of_failure(session, failure_id)])


@router.post("/failures/{failure_id}/explanations", response_model=Page[AskedOut], status_code=202)
def ask_for(failure_id: str, body: AskIn, session: SessionOf, context: ContextOf) -> Page[AskedOut]:
    """Have questions answered by a worker; asking again gives the same rows.

    What had failed is tried again. Look at the list until no row is `waiting` or `running`.
    """
    wishes = [Wish(What(one.what), one.label, one.rival) for one in body.questions]
    rows = asked.ask(session, context.settings, failure_id, body.method, wishes, body.num_samples)
    session.flush()
    mine = {row.id for row in rows}
    every = asked_rows.of_failure(session, failure_id)
    return Page(items=[_out(one) for one in every if one.row.id in mine])


@router.get("/failures/{failure_id}/explanation-costs", response_model=list[PriceOut])
def list_costs(
    failure_id: str,
    session: ViewOf,
    context: ContextOf,
    what: Annotated[
        str,
        Query(
            pattern=f"^({_ANY})(,({_ANY})){{0,7}}$",
            description="Questions that are asked together, such as `left,up`.",
        ),
    ] = "class",
) -> list[PriceOut]:
    """What every method would cost for this failure, before it runs, or why it is not offered."""
    failure = _failure(session, failure_id)
    wishes = [Wish(What(one)) for one in what.split(",")]
    found = asked_rows.prices(session, context.settings, failure, lambda _: wishes)
    return [PriceOut.model_validate(one, from_attributes=True) for one in found]


@router.delete("/failures/{failure_id}/explanations/{asked_id}", status_code=204)
def delete_asked(failure_id: str, asked_id: str, context: ContextOf) -> Response:
    """Delete one; what is not answered yet is not worked on any more."""
    asked.remove(context, failure_id, asked_id)
    return Response(status_code=204)


@router.get(
    "/failures/{failure_id}/explanations/{asked_id}/overlay.png",
    response_class=Response,
    dependencies=[IN_A_PLACE_TO_DRAW],
)
def draw_asked(failure_id: str, asked_id: str, session: ViewOf, context: ContextOf) -> Response:
    """The frame under the answer: red supports what was asked, blue works against it."""
    row = session.get(AskedExplanation, asked_id)
    if row is None or row.failure_id != failure_id:
        raise NotFound(f"no explanation {asked_id} of failure {failure_id}")
    return Response(drawings.asked_png(session, context, row), media_type="image/png")


def _failure(session: SessionOf, failure_id: str) -> FailureRow:
    failure = session.get(FailureRow, failure_id)
    if failure is None:
        raise NotFound(f"no failure {failure_id}")
    return failure


def _out(one: asked_rows.Asked) -> AskedOut:
    row = one.row
    path = f"/v1/failures/{row.failure_id}/explanations/{row.id}/overlay.png"
    plain = {
        name: getattr(row, name)
        for name in AskedOut.model_fields
        if name not in ("state", "why", "overlay")
    }
    shown = path if one.state == "done" else None
    return AskedOut(**plain, state=one.state, why=one.why, overlay=shown)
