"""Which models a mirror of the registry has to be told of; :mod:`services.mirror` tells it.

Written whether or not there is a mirror: a row a model, so that one that is set up later hears of
all of them.
"""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.orm import Session

from services.db.races import insert_new
from services.db.tables import MirroredModel


def want(session: Session, *model_ids: str | None) -> None:
    """Have a mirror told of models that have changed, in the transaction that changes them.

    Args:
        session: the caller's transaction.
        model_ids: new or changed; None is passed over.
    """
    wanted = sorted({name for name in model_ids if name is not None})
    if not wanted:
        return
    session.flush()  # a new model's row is what these refer to
    new = insert_new(session, MirroredModel, [{"model_id": name} for name in wanted], ("model_id",))
    known = [name for name in wanted if (name,) not in new]
    for name in known:  # one by one, in order: two promotions at once do not wait in a ring
        session.execute(
            update(MirroredModel)
            .where(MirroredModel.model_id == name)
            .values(wanted=MirroredModel.wanted + 1),
            execution_options={"synchronize_session": False},
        )
