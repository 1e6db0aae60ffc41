"""The region index against the embeddings that the database knows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from curation.kernel.errors import CurationError
from services.context import Context
from services.db.engine import reading
from services.db.tables import TERMINAL, Embedding, Unit
from services.store import embeddings as embeddings_store
from services.store.project_store import store_of
from services.store.region_index import has_index, open_index, width_of
from services.upkeep.invariants.files import spread
from services.upkeep.invariants.finding import Finding, OnProgress, told

MADE_AGAIN = "`e2x doctor --deep --mend` has it made again"


@dataclass(frozen=True, slots=True)
class Known:
    """An embedding as its row tells."""

    encoder: str
    image: str
    file: str
    indexed: bool


def index(context: Context, sample: int | None, tell: OnProgress) -> Iterator[Finding]:
    """Every indexed embedding is in the index, nothing else is, and its files are whole."""
    rows, waiting = embeddings(context), _waiting(context)
    for row in rows:
        if not row.indexed and row.file not in waiting:
            found = f"image {row.image[:12]} is embedded, and nothing will index it"
            yield Finding("index", "fail", found, MADE_AGAIN)
    files = {row.file for row in rows}
    there = []
    for file in sorted(files):
        if store_of(context).exists(embeddings_store.key(context, file)):
            there.append(file)
        else:
            yield Finding("index", "fail", f"embeddings/{file} is missing", MADE_AGAIN)
    for file in told("embeddings", spread(there, sample), tell):
        why = damage_of(context, file)
        if why:
            yield Finding("index", "fail", why, MADE_AGAIN)
    for encoder, known in told("index", list(by_encoder(rows).items()), tell):
        yield from _of_encoder(context, encoder, known)


def embeddings(context: Context) -> list[Known]:
    """All embeddings."""
    with reading(context.sessions) as session:
        query = select(
            Embedding.encoder_version, Embedding.image_id, Embedding.file, Embedding.indexed
        )
        return [Known(*row) for row in session.execute(query.order_by(Embedding.id))]


def by_encoder(rows: Sequence[Known]) -> dict[str, dict[str, Known]]:
    """Embeddings by encoder and image."""
    found: dict[str, dict[str, Known]] = defaultdict(dict)
    for row in rows:
        found[row.encoder][row.image] = row
    return dict(found)


def damage_of(context: Context, file: str) -> str:
    """Why a batch of embeddings cannot be read; "" where it can."""
    try:
        embeddings_store.read(context, file)
        embeddings_store.regions_of(context, file)
    except (CurationError, OSError) as error:
        return str(error)
    return ""


def held(context: Context, encoder: str) -> set[str] | None:
    """Images in the index of an encoder, whose files are read and compared; None: there is none.

    Raises:
        CurationError: a file is damaged.
        OSError: a file cannot be read.
        ValueError: the index does not say what it is.
    """
    if not has_index(context, encoder):  # opening would make it
        return None
    opened = open_index(context, encoder, width_of(context, encoder))
    opened.verify()
    return set(opened.images())


def _of_encoder(context: Context, encoder: str, known: Mapping[str, Known]) -> Iterator[Finding]:
    name = f"index/{encoder[:16]}"
    indexed = {image for image, row in known.items() if row.indexed}
    try:
        images = held(context, encoder)
    except (CurationError, OSError, ValueError) as error:
        yield Finding("index", "fail", f"{name}: {error}", MADE_AGAIN)
        return
    if images is None:
        if indexed:
            found = f"{name} is missing, {len(indexed)} images should be in it"
            yield Finding("index", "fail", found, MADE_AGAIN)
        return
    for image in sorted(indexed - images):
        yield Finding("index", "fail", f"image {image[:12]} is not in {name}", MADE_AGAIN)
    for image in sorted(_strangers(context, encoder, images - set(known))):
        found = f"{name} holds image {image[:12]}, which has no embedding"
        yield Finding("index", "fail", found, MADE_AGAIN)


def _strangers(context: Context, encoder: str, images: set[str]) -> set[str]:
    """Those without an embedding now: some may have come in since the rows were read."""
    if not images:
        return set()
    with reading(context.sessions) as session:
        query = select(Embedding.image_id).where(Embedding.encoder_version == encoder)
        return images - set(session.scalars(query))


def _waiting(context: Context) -> set[str]:
    """Files that a unit waits to index."""
    with reading(context.sessions) as session:
        query = select(Unit.payload).where(Unit.kind == "index", Unit.state.not_in(TERMINAL))
        return {str(payload.get("file")) for payload in session.scalars(query)}
