"""Failure modes over the cycles: known again, judged and stored.

A selection calls :func:`recognise` (which mode of the champion's failures is which known one; it
only reads, so that a plan may call it too), then :func:`keep_traces` and :func:`store`. Whenever
labels were asked for, a cycle has ended or a champion was brought back, :func:`settle` judges all
modes by the table of :mod:`curation.modes.states`; the audit trail keeps every change.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation.kernel.errors import ShardCorrupt
from curation.modes import Mode, Transform
from curation.modes.history import MatchRules, ModeTrace, match, name_of
from curation.modes.states import ModeState, StateRules, next_state
from services.config.settings import Settings
from services.context import Context
from services.db.engine import reading
from services.db.tables import (
    Audit,
    Cycle,
    FailureRow,
    Model,
    ModeMember,
    ModeRow,
    ModeSighting,
)
from services.modes import decisions
from services.modes.counts import ModeCounts, last_sightings, read_counts
from services.modes.trends import ACTION as ACTION
from services.store.storage import key_of, read_arrays, write_arrays

logger = logging.getLogger(__name__)

ACTOR = "loop"
"""Of the audit rows."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a mode of this cycle is known as.

    Attributes:
        mode_id: number of the known mode; None: it is new.
        name: what people call it.
        state: with what this cycle saw.
        joined: failures at places where none of it was known.
        why: what the state follows from.
        split: number of the decision that made it of another mode; None: no person did.
    """

    mode_id: int | None
    name: str
    state: ModeState
    joined: int
    why: str
    split: int | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether nothing is to be spent on it."""
        return self.state is ModeState.FIXED


def state_rules(settings: Settings) -> StateRules:
    """Bounds of the states."""
    return StateRules(settings.modes.max_failing, settings.modes.reopen_at)


def recognise(
    context: Context,
    champion: Model,
    found: Sequence[Mode],
    encoder_version: str,
    transform: Transform,
) -> dict[str, Recognised]:
    """Know the modes of the champion's failures again; writes nothing.

    Args:
        context: wiring.
        champion: whose failures.
        found: its modes as clustered now, in the order in which new ones get their numbers.
        encoder_version: of their vectors; what another encoder saw is compared by places alone.
        transform: the metric of the index.

    Returns:
        By key of the mode.
    """
    known = read_known(context, champion, encoder_version)
    now = [ModeTrace.of(mode, known.places) for mode in found]
    rules = MatchRules(min_similarity=context.settings.modes.min_similarity)
    pairs = match(now, known.traces, transform, rules)
    numbers = known.numbers()
    recognised = {}
    for trace in now:
        if trace.key in pairs:
            recognised[trace.key] = known.again(int(pairs[trace.key]), trace)
        else:
            name = numbers.name(trace.family, known.labels[trace.label])
            recognised[trace.key] = known.new(trace, name)
    return recognised


@dataclass(frozen=True, slots=True)
class Known:
    """The modes of earlier cycles, read once.

    Attributes:
        rows: by number.
        labels: class names of the champion.
        places: where the champion's failures lie, by failure.
        counts: what is stored about the modes.
        traces: as they were seen last, of classes that the champion has.
        rules: bounds of the states.
    """

    rows: Mapping[int, ModeRow]
    labels: tuple[str, ...]
    places: Mapping[str, str]
    counts: ModeCounts
    traces: Sequence[ModeTrace]
    rules: StateRules

    def again(self, number: int, trace: ModeTrace) -> Recognised:
        """A known mode as this cycle sees it."""
        return _known_again(self.rows[number], trace, self.counts, self.rules)

    def new(self, trace: ModeTrace, name: str, decision: int | None = None) -> Recognised:
        """A mode that was not there before."""
        size = len(trace.places)
        why = f"{size} failure{'s' if size > 1 else ''} seen"
        return Recognised(None, name, ModeState.OPEN, size, why, decision)

    def numbers(self, taken: Iterable[str] = ()) -> _Numbers:
        """Names for new modes, none of those that are taken."""
        return _Numbers(self.rows.values(), taken)


def read_known(context: Context, champion: Model, encoder_version: str) -> Known:
    """Read the modes of earlier cycles.

    Args:
        context: wiring.
        champion: whose failures they are compared with.
        encoder_version: of their vectors; what another encoder saw is compared by places alone.
    """
    names = tuple(champion.class_names)
    with reading(context.sessions) as session:
        places = _places(session, champion.id)
        known = {row.id: row for row in session.scalars(select(ModeRow))}
        counts = read_counts(session)
        seen = last_sightings(session)
    traces = [
        _trace(context, known[number], sighting, counts, names, encoder_version)
        for number, sighting in seen.items()
        if known[number].label in names
    ]
    return Known(known, names, places, counts, traces, state_rules(context.settings))


def keep_traces(context: Context, cycle_id: int, found: Sequence[Mode]) -> None:
    """Write the pooled regions of this cycle's modes, for the next one to compare with."""
    for mode in found:
        write_arrays(
            context,
            key_of(context, context.project.modes, trace_file(cycle_id, mode.key)),
            vectors=mode.vectors.astype(np.float32),
            weights=mode.weights.astype(np.float32),
            object_vector=mode.object_vector.astype(np.float32),
        )


def trace_file(cycle_id: int, key: str) -> str:
    """Where the pooled regions of a sighting lie, below ``Project.modes``."""
    return f"{cycle_id}/{key}.npz"


def store(
    session: Session,
    cycle: Cycle,
    found: Sequence[Mode],
    recognised: Mapping[str, Recognised],
    encoder_version: str,
    names: Sequence[str],
) -> dict[str, tuple[ModeRow, ModeSighting]]:
    """Store what a cycle saw: modes with their states, sightings, members.

    Args:
        session: the caller's transaction.
        cycle: of the sightings.
        found: its modes.
        recognised: what each is known as, all of ``found``.
        encoder_version: of their vectors.
        names: class names of the champion.

    Returns:
        Rows by key of the mode.
    """
    rows = {}
    for mode in found:
        known = recognised[mode.key]
        if known.mode_id is None:
            row = ModeRow(name=known.name, family=mode.family, label=names[mode.label])
            row.state, row.opened_cycle_id = "", cycle.id
            session.add(row)
            session.flush()
            if known.split is not None:
                decisions.made_by_split(session, known.split, row.id)
        else:
            row = session.get_one(ModeRow, known.mode_id)
        _enter(session, row, known.state, known.why, cycle.id)
        sighting = ModeSighting(
            cycle_id=cycle.id,
            mode_id=row.id,
            key=mode.key,
            kind=mode.kind,
            size=len(mode.members),
            joined=known.joined,
            exemplars=list(mode.exemplars),
            file=trace_file(cycle.id, mode.key),
            encoder_version=encoder_version,
        )
        session.add(sighting)
        session.flush()
        for failure_id in mode.members:
            session.add(ModeMember(sighting_id=sighting.id, failure_id=failure_id))
            session.get_one(FailureRow, failure_id).mode_id = row.id
        rows[mode.key] = row, sighting
    session.flush()
    return rows


def settle(session: Session, settings: Settings, cycle_id: int | None = None) -> None:
    """Judge every mode by what is stored now; calling it twice changes nothing more.

    Args:
        session: the caller's transaction.
        settings: the bounds.
        cycle_id: on account of which cycle; None: the newest.
    """
    if cycle_id is None:
        cycle_id = session.scalar(select(func.max(Cycle.id)))
    session.flush()  # what is read anew would overwrite it
    rows = session.scalars(  # locked: two who judge at once would both note the same change
        select(ModeRow)
        .order_by(ModeRow.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    if cycle_id is None or not rows:
        return
    counts, rules = read_counts(session), state_rules(settings)
    for row in rows:
        progress = counts.progress(row.id)
        state = next_state(ModeState(row.state), progress, rules)
        _enter(session, row, state, counts.words(row.id, state), cycle_id)


def _enter(session: Session, row: ModeRow, state: ModeState, why: str, cycle_id: int) -> None:
    """Move a mode to a state, with an audit row, unless it is there."""
    if row.state == state:
        return
    detail = {"from": row.state or None, "to": state.value, "cycle": cycle_id, "why": why}
    session.add(Audit(actor=ACTOR, action=ACTION, subject=f"mode:{row.id}", detail=detail))
    row.state = state
    if state is ModeState.REOPENED:
        row.opened_cycle_id = cycle_id
    session.flush()


def _places(session: Session, model_id: str) -> dict[str, str]:
    query = select(FailureRow.id, FailureRow.place).where(FailureRow.model_id == model_id)
    return {row[0]: row[1] for row in session.execute(query)}


def _trace(
    context: Context,
    row: ModeRow,
    sighting: ModeSighting,
    counts: ModeCounts,
    names: tuple[str, ...],
    encoder_version: str,
) -> ModeTrace:
    """A known mode as it was last seen."""
    bare = np.zeros(0, np.float32)
    arrays = {"vectors": bare[:, None], "weights": bare, "object_vector": bare}
    if sighting.encoder_version == encoder_version and sighting.file:
        try:
            arrays = read_arrays(context, key_of(context, context.project.modes, sighting.file))
        except (FileNotFoundError, ShardCorrupt) as error:
            logger.warning("mode %d is known by its places alone: %s", row.id, error)
    return ModeTrace(
        key=str(row.id),
        family=row.family,
        label=names.index(row.label),
        places=frozenset(counts.places[row.id]),
        vectors=arrays["vectors"],
        weights=arrays["weights"],
        object_vector=arrays["object_vector"],
    )


def _known_again(
    row: ModeRow, trace: ModeTrace, counts: ModeCounts, rules: StateRules
) -> Recognised:
    progress = counts.progress(row.id, trace.places)
    state = next_state(ModeState(row.state), progress, rules)
    why = counts.words(row.id, state, trace.places)
    return Recognised(row.id, row.name, state, progress.joined, why)


class _Numbers:
    """The next free number of each family and class; a mode is never deleted."""

    def __init__(self, rows: Iterable[ModeRow], taken: Iterable[str] = ()) -> None:
        rows = list(rows)
        self._counts = Counter((row.family, row.label) for row in rows)
        self._taken = {*taken, *(row.name for row in rows)}
        """People call modes what they like, also by the name that another would have got."""

    def name(self, family: str, label: str) -> str:
        """Take the next."""
        name = ""
        while not name or name in self._taken:
            self._counts[family, label] += 1
            name = name_of(family, label, self._counts[family, label])
        self._taken.add(name)
        return name
