"""What a detector cannot do, and explanations that wait because of it.

A detector that finds next to nothing fails for one reason everywhere: it has not learnt yet. Its
failures are found and kept, but not explained until the champion finds ``explanation.min_recall``
of the holdout, or until a person wants them explained anyway. A better champion looks at every
field frame itself, so that nothing is lost.

The decision is taken where it costs, by the worker that would explain; all doors only tell it.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services import units
from services.accounts import audit
from services.config.settings import Settings
from services.context import Context
from services.db.engine import reading
from services.db.races import insert_new
from services.db.tables import FailureRow, FailureState, Model, Pointer, Role, Unit
from services.models import datasets, evaluation, registry

logger = logging.getLogger(__name__)

ANYWAY, HELD = "explained anyway", "explanations held"
"""Pointers: to the model whose failures a person wants explained, and to the last one whose were
not."""
MANY = 0.05
"""A share of objects without a default box from which it is said."""


def limits(settings: Settings, model: Model) -> list[str]:
    """What a model cannot do, in sentences for people; none where nothing is known or wrong."""
    report = _report(model)
    said = []
    boxes = _boxes(report)
    if _is_weak(settings, model):
        longer = "train longer (`e2x train --again`)"
        other = f", or with {boxes}" if boxes else ""
        said.append(
            f"finds {_percent(report['found'], report['objects'])} of the holdout "
            f"({report['found']} of {report['objects']} objects): explanations of such a detector "
            f"mean little; {longer}{other}"
        )
    elif boxes and report["default_boxes"]["unfitting"] >= MANY * report["objects"]:
        said.append(f"may find more with {boxes}")
    return said


def _boxes(report: dict[str, Any]) -> str:
    fit = report.get("default_boxes") or {}
    if not fit.get("unfitting"):
        return ""
    kind = "smaller" if 2 * fit["smaller"] > fit["unfitting"] else "other"
    return (
        f"{kind} default boxes (`e2x train --suggest`): {fit['unfitting']} of {fit['objects']} "
        "objects of the holdout have none that fits"
    )


def _report(model: Model) -> dict[str, Any]:
    found: dict[str, Any] = (model.reports or {}).get(Role.HOLDOUT) or {}
    return found


def _is_weak(settings: Settings, model: Model) -> bool:
    """Whether it is known to find less than is asked for; what was not measured is not known."""
    report = _report(model)
    objects = report.get("objects") or 0
    return bool(objects) and report["found"] < settings.explanation.min_recall * objects


def why_held(session: Session, settings: Settings, model: Model) -> str | None:
    """Why the failures of a model wait unexplained; None where they do not.

    What is known of it now is asked; :func:`check` measures it first.
    """
    if not _is_weak(settings, model):
        return None
    released = session.get(Pointer, ANYWAY)
    if released is not None and released.target == model.id:
        return None
    report = _report(model)
    return (
        f"model {model.number} finds {_percent(report['found'], report['objects'])} of the holdout "
        f"({report['found']} of {report['objects']} objects), less than `explanation.min_recall` "
        f"({settings.explanation.min_recall:.0%}): its failures wait unexplained until a champion "
        "finds more, or `--anyway`"
    )


def why_champion_held(session: Session, settings: Settings) -> str | None:
    """The same of the champion, where there is one."""
    champion = registry.champion(session)
    return None if champion is None else why_held(session, settings, champion)


def check(context: Context, model_id: str) -> str | None:
    """The same, after a look at the holdout where nobody has measured the model on it yet.

    It may have been imported after the training.
    """
    settings = context.settings
    if not settings.explanation.min_recall:
        return None
    with reading(context.sessions) as session:
        model = session.get_one(Model, model_id)
        known = bool(_report(model)) or not datasets.labelled_images(session, (Role.HOLDOUT,))
    if not known:
        model = evaluation.measured(context, model_id)
    with reading(context.sessions) as session:
        return why_held(session, settings, model)


def note(session: Session, model_id: str) -> None:
    """Remember that failures of a model wait, so that :func:`let_go` finds them."""
    insert_new(session, Pointer, [{"name": HELD, "target": model_id, "version": 1}], ("name",))
    pointer = session.get_one(Pointer, HELD, populate_existing=True)
    if pointer.target != model_id:
        pointer.target, pointer.version = model_id, pointer.version + 1


def held_back(session: Session) -> int:
    """How many failures of the champion a worker has left unexplained, for pages that count.

    Read from what is stored, without the settings; none once a person wants them explained.
    """
    champion = registry.champion(session)
    pointers = {one.name: one.target for one in session.scalars(select(Pointer))}
    if champion is None or pointers.get(HELD) != champion.id:
        return 0
    return 0 if pointers.get(ANYWAY) == champion.id else waiting(session, champion.id)


def waiting(session: Session, model_id: str) -> int:
    """How many failures of a model are found and not explained."""
    wanted = (FailureRow.model_id == model_id, FailureRow.state == FailureState.FOUND)
    return session.scalar(select(func.count()).where(*wanted)) or 0


def release(session: Session, settings: Settings, model: Model) -> int:
    """Have the failures of a model explained whatever it finds; how many frames are asked for.

    Twice is once: what is explained is not asked for again.
    """
    if why_held(session, settings, model) is None:
        return 0
    insert_new(session, Pointer, [{"name": ANYWAY, "target": model.id, "version": 1}], ("name",))
    pointer = session.get_one(Pointer, ANYWAY, populate_existing=True)
    if pointer.target != model.id:
        pointer.target, pointer.version = model.id, pointer.version + 1
    audit.record(session, "explain.anyway", f"model:{model.id}", number=model.number)
    session.flush()
    return _ask(session, settings, model.id)


def let_go(context: Context) -> int:
    """Have explained what waited for a reason that is gone; how many frames are asked for.

    The setting was lowered, or the holdout is another. Failures of a model that is not the
    champion any more are left: the champion has looked at their frames itself.
    """
    settings = context.settings
    with reading(context.sessions) as session:
        if session.get(Pointer, HELD) is None or why_champion_held(session, settings) is not None:
            return 0
    with context.sessions.begin() as session:
        pointer = session.get(Pointer, HELD, with_for_update=True)
        champion = registry.champion(session)
        if pointer is None:
            return 0
        model_id = pointer.target
        session.delete(pointer)
        if champion is None or champion.id != model_id:
            return 0
        frames = _ask(session, settings, model_id)
    if frames:
        logger.info("%d frames with failures that waited are explained now", frames)
    return frames


def _ask(session: Session, settings: Settings, model_id: str) -> int:
    """Ask for explanations of every frame that has fewer than it could have."""
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    query = (
        select(FailureRow.image_id, FailureRow.state, func.count())
        .where(
            FailureRow.model_id == model_id,
            FailureRow.state.in_((FailureState.FOUND, FailureState.EXPLAINED)),
        )
        .group_by(FailureRow.image_id, FailureRow.state)
        .order_by(FailureRow.image_id)
    )
    for image_id, state, count in session.execute(query):
        counts[image_id][state] = count
    newest = session.scalar(select(func.max(Unit.id)))  # keys of their own
    most = settings.explanation.max_failures_per_image
    asked = 0
    for image_id, by_state in counts.items():
        found, done = by_state.get(FailureState.FOUND, 0), by_state.get(FailureState.EXPLAINED, 0)
        if not found or done >= min(found + done, most):
            continue
        name = hashlib.sha256(f"{model_id} released {newest}".encode()).hexdigest()[:32]
        payload = {"image": image_id, "model": model_id}
        units.enqueue(session, "explain", f"explain:{image_id}:{name}", payload)
        asked += 1
    return asked


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 1 or not part else "under 1 %"
