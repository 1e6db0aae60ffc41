"""What a failure's regions resemble in the pool."""

from __future__ import annotations

from fastapi import APIRouter

from services.api.deps import SessionOf, ViewOf
from services.api.schemas_looks import NeighbourOut, NeighboursOut
from services.api.strict import StrictRoute
from services.db.tables import FailureRow
from services.errors import NotFound
from services.failures import neighbours

router = APIRouter(tags=["failures"], route_class=StrictRoute)


@router.get("/failures/{failure_id}/neighbours", response_model=NeighboursOut)
def list_neighbours(failure_id: str, session: ViewOf) -> NeighboursOut:
    """The nearest regions of the pool, as they were looked up last, and how far a new look is."""
    if session.get(FailureRow, failure_id) is None:
        raise NotFound(f"no failure {failure_id}")
    return _out(neighbours.of_failure(session, failure_id))


@router.post("/failures/{failure_id}/neighbours", response_model=NeighboursOut, status_code=202)
def look_up(failure_id: str, session: SessionOf) -> NeighboursOut:
    """Have a worker look through the pool; asking again while it waits is harmless."""
    neighbours.ask(session, failure_id)
    session.flush()
    return _out(neighbours.of_failure(session, failure_id))


def _out(looked: neighbours.Looked) -> NeighboursOut:
    items = [
        NeighbourOut(
            image_id=one.image.id,
            name=one.image.name,
            role=one.image.role,
            box=one.box,
            region=one.region,
            similarity=one.similarity,
            distance=one.distance,
        )
        for one in looked.found
    ]
    return NeighboursOut(state=looked.state, note=looked.note, items=items)
