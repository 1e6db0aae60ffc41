"""What a decision needs of a project, loaded once: nothing of it grows with the pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import modes
from curation.embedding.embed import RegionEmbedder
from curation.index.protocol import PoolIndex
from curation.modes import FailureEvidence, Mode
from curation.select import ModeQuery, plan
from services.context import Context
from services.db.engine import reading
from services.db.parts import in_parts
from services.db.tables import FailureRow, Model
from services.modes import decided, decision_rows
from services.modes.recognise import Recognised, recognise
from services.selection.inputs import barred_hashes, evidence_of, spent
from services.selection.training_sample import TrainingSample, training_sample
from services.store.region_index import open_index


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a decision needs of a project but the pool.

    Attributes:
        champion: whose failures.
        known: what their explanations point at.
        modes: of its explained failures.
        known_as: by key of the mode.
        queries: modes that are not fixed, as searches.
        index: regions of the pool.
        sample: of what it was trained on.
        spent: images that must not be chosen: labelled, asked for, struck or of a drive that
            judges.
        hashes: whose near-duplicates must not be asked for.
        embedder: of regions.
        struck: keys of modes that a person wants nothing spent on.
    """

    champion: Model
    known: list[FailureEvidence]
    modes: list[Mode]
    known_as: dict[str, Recognised]
    queries: list[ModeQuery]
    index: PoolIndex
    sample: TrainingSample | None
    spent: frozenset[str]
    hashes: tuple[int, ...]
    embedder: RegionEmbedder
    struck: frozenset[str] = frozenset()

    @property
    def unfixed(self) -> list[Mode]:
        """The modes that ask for something."""
        return [
            mode
            for mode in self.modes
            if not self.known_as[mode.key].is_fixed and mode.key not in self.struck
        ]


def load(context: Context, champion: Model, embedder: RegionEmbedder) -> Inputs:
    """Failures, modes and what is barred.

    Args:
        context: wiring.
        champion: whose failures.
        embedder: of regions; what it has not embedded yet takes no part.
    """
    index = open_index(context, embedder.version, embedder.width)
    known = evidence_of(context, champion.id, embedder.version, tuple(champion.class_names))
    sample = training_sample(context, champion, embedder) if known else None
    usual = sample.objects.alike(index.metric.apply) if sample else {}
    found = modes.cluster(known, index.metric.apply, usual=usual)
    known_as = recognise(context, champion, found, embedder.version, index.metric.apply)
    found, known_as = decided.apply(
        context, champion, found, known, known_as, embedder.version, index.metric.apply
    )
    idle = {mode.key for mode in found if known_as[mode.key].is_fixed}
    with reading(context.sessions) as session:
        struck = decided.struck(session, known_as, _places(session, found))
        struck_images = decision_rows.struck_images(session)
    queries = plan.queries_of(found, known, idle | struck)
    barred = barred_hashes(context) if queries else ()
    return Inputs(
        champion=champion,
        known=known,
        modes=found,
        known_as=known_as,
        queries=queries,
        index=index,
        sample=sample,
        spent=spent(context) | struck_images,
        hashes=barred,
        embedder=embedder,
        struck=struck,
    )


def _places(session: Session, found: Sequence[Mode]) -> dict[str, set[str]]:
    """Where the failures of modes lie, by key."""
    places: dict[str, str] = {}
    for part in in_parts(sorted({name for mode in found for name in mode.members})):
        query = select(FailureRow.id, FailureRow.place).where(FailureRow.id.in_(part))
        places.update({row[0]: row[1] for row in session.execute(query)})
    return {mode.key: {places[name] for name in mode.members if name in places} for mode in found}
