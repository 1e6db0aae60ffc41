"""Who draws, ready to: the generator of the settings, with weights of the project where it has any.

A network that was trained here is in the store, and what was measured of it in its row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.kernel.errors import GeneratorUnusable
from services.config import builders
from services.config.builders import TRAINED
from services.context import Context
from services.db.engine import reading
from services.db.tables import GeneratorRow
from services.errors import InvalidRequest, NotFound
from services.store import model_folders
from services.synthesis.training import NAME

if TYPE_CHECKING:
    from curation.kernel.detector import Encoder
    from curation.synthesis import Generator


@contextmanager
def drawer(context: Context, encoder: Callable[[], Encoder] | None = None) -> Iterator[Generator]:
    """The generator of the settings, for the length of the block.

    Args:
        context: wiring.
        encoder: loads that of the region vectors; None: it is only looked at and does not draw.

    Raises:
        InvalidRequest: no generator has this name, or it takes no such parameter or value.
        GeneratorUnusable: it is to draw with a network of the project, and there is none.
    """
    wanted = context.settings.synthesis
    if wanted.generator != NAME:
        yield builders.generator(context.settings)
        return
    more: dict[str, Any] = {} if encoder is None else {"encoder": encoder()}
    if wanted.parameters.get("folder"):
        yield builders.generator(context.settings, **more)
        return
    row = _row(context)
    if row.verdict is not None:
        from curation.synthesis.bridge import verdict_of

        more["proven"] = verdict_of(row.verdict)
    with model_folders.local(context, row.folder) as path:
        yield builders.generator(context.settings, folder=str(path), **more)


def _row(context: Context) -> GeneratorRow:
    named = context.settings.synthesis.parameters.get(TRAINED)
    with reading(context.sessions) as session:
        if named is not None:
            return find(session, str(named))
        newest = select(GeneratorRow).order_by(GeneratorRow.number.desc()).limit(1)
        row = session.scalar(newest)
    if row is None:
        raise GeneratorUnusable(
            "no network was trained to draw in this project: `e2x synthesis train` does, or take "
            "the generator compose"
        )
    return row


def find(session: Session, name: str) -> GeneratorRow:
    """A trained network by its number, or the beginning of its id.

    Raises:
        NotFound: there is none, or more than one begins so.
    """
    by_number = GeneratorRow.number == int(name) if name.isdecimal() and len(name) < 9 else None
    rows: Sequence[GeneratorRow] = ()
    if by_number is not None:
        rows = session.scalars(select(GeneratorRow).where(by_number)).all()
    if not rows and len(name) >= 6:
        begins = GeneratorRow.id.startswith(name, autoescape=True)
        rows = session.scalars(select(GeneratorRow).where(begins).limit(2)).all()
    if len(rows) != 1:
        raise NotFound(f"no trained generator {name}: see `e2x synthesis generators`")
    return rows[0]


def told(row: GeneratorRow) -> dict[str, Any]:
    """What a trained network is, and why it is not relied on; "" where it is."""
    return {
        "number": row.number,
        "id": row.id,
        "name": row.name,
        "folder": row.folder,
        "dataset_version_id": row.dataset_version_id,
        "class_names": row.class_names,
        "steps": row.steps,
        "training": row.training,
        "verdict": row.verdict,
        "judged_by": row.judged_by,
        "why_not": why_not(row),
        "created_at": row.created_at,
    }


def why_not(row: GeneratorRow) -> str:
    """What keeps a network from being relied on, in one sentence; "" for nothing."""
    if row.verdict is None:
        return "it was not measured that it follows what hurt (G1), nor that it repairs (G6)"
    from curation.synthesis.bridge import verdict_of

    return verdict_of(row.verdict).why_not(row.id)


def judge(session: Session, name: str, verdict: dict[str, Any], who: str) -> GeneratorRow:
    """Enter what was measured of a trained network.

    Args:
        session: the caller's transaction.
        name: number, or beginning of its id.
        verdict: as ``curation.synthesis.bridge.write_verdict`` writes it.
        who: enters it.

    Raises:
        NotFound: there is no such network.
        GeneratorUnusable: it is no verdict.
        InvalidRequest: it is of other weights.
    """
    from curation.synthesis.bridge import verdict_of
    from services.accounts import audit

    row = find(session, name)
    read = verdict_of(verdict)
    if read.weights != row.id:
        raise InvalidRequest(
            f"this was measured of weights {read.weights[:12]}, generator {row.number} has "
            f"{row.id[:12]}: it says nothing of them"
        )
    row.verdict, row.judged_by = verdict, who[:120]
    audit.record(session, "generator.judged", f"generator:{row.number}", why_not=why_not(row))
    session.flush()
    return row
