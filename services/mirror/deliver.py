"""An exchange with MLflow: whatever it has not been told yet, a model at a time.

It may break off anywhere and be done again. Nothing is asked of the network within a transaction.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from services.context import Context
from services.db.base import utc_now
from services.db.engine import reading
from services.db.patience import CLOCKS_DIFFER
from services.db.races import insert_new
from services.db.tables import MLFLOW, Mirror, MirroredModel, Model
from services.errors import Conflict, ServiceError
from services.mirror import content
from services.mirror.client import Client
from services.mirror.errors import MirrorUnavailable
from services.models import registry
from services.store import model_folders
from services.store.objects import StoreRefused, StoreUnavailable

logger = logging.getLogger(__name__)

BUSY = timedelta(minutes=10)
"""Taken anew for each model: longer than one takes; of whoever died in one."""
LONGEST_WAIT = timedelta(minutes=10)
"""Between two tries to reach a server that fails, or to tell of a model that it refuses."""
TELLS = 5
"""The champion may be swapped while the alias is: told again so often."""


@dataclass(slots=True)
class Exchange:
    """What one exchange did.

    Attributes:
        models: numbers of those of which all is told now.
        refused: why others were not taken, by number.
    """

    models: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As the command line prints it."""
        return asdict(self)


def is_due(context: Context) -> bool:
    """Whether there is something to tell, and it is time for it: two short reads."""
    if not context.settings.mlflow.tracking_uri:
        return False
    with reading(context.sessions) as session:
        mirror = session.get(Mirror, MLFLOW)
        if mirror is not None and (
            _is_busy(mirror) or _waits(context, mirror.failures, mirror.tried_at)
        ):
            return False
        rows = session.scalars(
            select(MirroredModel).where(MirroredModel.wanted > MirroredModel.sent)
        )
        return any(not _waits(context, row.failures, row.tried_at) for row in rows)


def _is_busy(mirror: Mirror) -> bool:
    """Whether another process is telling it; one that was killed is waited for, too."""
    now = utc_now()
    return mirror.busy_until is not None and now <= mirror.busy_until <= now + BUSY + CLOCKS_DIFFER


def _waits(context: Context, failures: int, tried_at: datetime | None) -> bool:
    """Whether the next try after one that failed is still to come."""
    now = utc_now()
    if not failures or tried_at is None or tried_at > now + CLOCKS_DIFFER:
        return False
    every = timedelta(seconds=context.settings.mlflow.interval_s)
    wait: timedelta = min(every * 2 ** min(failures, 16), max(every, LONGEST_WAIT))
    return tried_at + wait > now


def run(context: Context, *, patient: bool = True) -> Exchange:
    """Tell MLflow of every model that has changed.

    Args:
        context: wiring.
        patient: pass over models that were refused a short while ago.

    Raises:
        Conflict: no server is set, or another process is at it.
        MirrorUnavailable: it is away, or its client is not installed; nothing is lost.
    """
    if not context.settings.mlflow.tracking_uri:
        raise Conflict("no MLflow server is set: mlflow.tracking_uri (E2X_MLFLOW__TRACKING_URI)")
    held = _Hold(context)
    error: str | None = None
    try:
        return _exchange(context, held, patient)
    except ServiceError as failure:
        error = str(failure)
        raise
    except Exception as failure:
        error = f"a fault: {type(failure).__name__}: {failure}"
        raise
    finally:
        held.end(error)


class _Hold:
    """The right to tell the server, so that no two do at once.

    Raises:
        Conflict: another process has it.
    """

    def __init__(self, context: Context) -> None:
        self._context, self._until = context, utc_now() + BUSY
        with context.sessions.begin() as session:
            insert_new(session, Mirror, [{"name": MLFLOW}], ("name",))
            now = utc_now()
            free = or_(
                Mirror.busy_until.is_(None),
                Mirror.busy_until < now,
                Mirror.busy_until > self._until + CLOCKS_DIFFER,
            )
            won = session.execute(
                update(Mirror)
                .where(Mirror.name == MLFLOW, free)
                .values(busy_until=self._until, tried_at=now)
            )
            if won.rowcount != 1:  # type: ignore[attr-defined]
                raise Conflict("another process is telling MLflow right now")

    def renew(self) -> None:
        """Have it for another while.

        Raises:
            Conflict: it is another's by now.
        """
        until = utc_now() + BUSY
        with self._context.sessions.begin() as session:
            won = session.execute(
                update(Mirror)
                .where(Mirror.name == MLFLOW, Mirror.busy_until == self._until)
                .values(busy_until=until)
            )
            if won.rowcount != 1:  # type: ignore[attr-defined]
                raise Conflict("another process has begun to tell MLflow")
        self._until = until

    def end(self, error: str | None) -> None:
        """Give it back, and write down how it went."""
        try:
            with self._context.sessions.begin() as session:
                row = session.get_one(Mirror, MLFLOW, with_for_update=True)
                if row.busy_until != self._until:
                    return
                row.busy_until, row.error = None, error
                row.failures = row.failures + 1 if error else 0
                if error is None:
                    row.told_at = utc_now()
        except SQLAlchemyError as failure:  # the first trouble is the one to tell
            logger.warning("how the exchange with MLflow ended is not written: %s", failure)


def _exchange(context: Context, held: _Hold, patient: bool) -> Exchange:
    client = Client(context.settings.mlflow)
    client.prepare()
    done = Exchange()
    for model_id in _waiting(context, patient):
        held.renew()
        with reading(context.sessions) as session:
            row = session.get_one(MirroredModel, model_id)
            model = session.get_one(Model, model_id)
            told = content.told_of(session, model)
        try:
            _tell(context, client, row, told)
        except (MirrorUnavailable, StoreUnavailable, StoreRefused):
            raise  # the others would fare no better
        except (ServiceError, OSError) as error:
            logger.warning("model %d is not told to MLflow: %s", model.number, error)
            done.refused[model.number] = str(error)
            _refused(context, model_id, str(error))
        else:
            done.models.append(model.number)
    return done


def _waiting(context: Context, patient: bool) -> list[str]:
    """Models of which there is something to tell, the oldest first."""
    query = (
        select(MirroredModel)
        .join(Model, Model.id == MirroredModel.model_id)
        .where(MirroredModel.wanted > MirroredModel.sent)
        .order_by(Model.number)
    )
    with reading(context.sessions) as session:
        rows = session.scalars(query).all()
        return [
            row.model_id
            for row in rows
            if not (patient and _waits(context, row.failures, row.tried_at))
        ]


def _tell(context: Context, client: Client, row: MirroredModel, told: content.Told) -> None:
    """Tell all of a model, and write down that it is told; what was there already is left."""
    run_id = client.run_of(told, row.run_id)
    client.describe(run_id, told)
    with model_folders.local(context, told.folder) as folder:
        version = client.register(run_id, told, folder)
    client.label(version, told)
    _write(context, row.model_id, run_id=run_id, version=version)
    _point_champion(context, client)
    now = utc_now()
    # `wanted` as it was read before: what has changed since is told next time.
    _write(
        context, row.model_id, sent=row.wanted, failures=0, error=None, tried_at=now, sent_at=now
    )


def _point_champion(context: Context, client: Client) -> None:
    """Have the alias mean the champion; if that is swapped meanwhile, the new one."""
    told: str | None = None
    for _ in range(TELLS):
        with reading(context.sessions) as session:
            champion = registry.champion(session)
            row = None if champion is None else session.get(MirroredModel, champion.id)
        if row is None or row.version is None or row.version == told:
            return  # a champion without a version is still to be told, and then points
        client.point_champion(row.version)
        told = row.version


def _refused(context: Context, model_id: str, error: str) -> None:
    failures = MirroredModel.failures + 1
    _write(context, model_id, failures=failures, error=error, tried_at=utc_now())


def _write(context: Context, model_id: str, **values: Any) -> None:
    with context.sessions.begin() as session:
        session.execute(
            update(MirroredModel).where(MirroredModel.model_id == model_id).values(**values)
        )
