"""What is lost and can be made again is asked for again: explanations, embeddings, the index.

Rows of files that are gone or damaged go too; the work is then asked for like any other, and the
workers do it. Pictures, labels, manifests and weights cannot be made again.
"""

from __future__ import annotations

import contextlib
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from sqlalchemy import delete, select, update

from curation.kernel.errors import CurationError
from services import units
from services.accounts import audit
from services.context import Context
from services.db.engine import reading
from services.db.parts import in_parts
from services.db.tables import AskedExplanation, Embedding, Explanation
from services.store import embeddings as store
from services.store.region_index import begin_anew, open_index, width_of
from services.store.storage import key_of, read_arrays
from services.units.requests import request_embed, request_scan
from services.upkeep import rows as upkeep
from services.upkeep.invariants.index import (
    Known,
    by_encoder,
    damage_of,
    embeddings,
    held,
)
from services.upkeep.invariants.rows import never_looked_at


def mend(context: Context) -> Iterator[str]:
    """Ask again for what can be made again, and say what was asked for."""
    yield from _scans(context)
    yield from _explanations(context)
    yield from _embeddings(context)
    yield from _index(context)


def _scans(context: Context) -> Iterator[str]:
    frames = never_looked_at(context)
    if frames:
        with context.sessions.begin() as session:
            for image_id in frames:
                request_scan(session, image_id)
            audit.record(session, "mend", "scans", frames=len(frames))
        yield f"{len(frames)} frames are looked at"


def _explanations(context: Context) -> Iterator[str]:
    answered = AskedExplanation.file.is_not(None)
    with reading(context.sessions) as session:
        rows = session.execute(select(Explanation.id, Explanation.file)).all()
        looked_at = session.execute(
            select(AskedExplanation.id, AskedExplanation.file).where(answered)
        ).all()
    gone = [one.id for one in looked_at if _is_lost(context, str(one.file))]
    for part in in_parts(gone):  # whoever wants to see one again asks again
        with context.sessions.begin() as session:
            session.execute(delete(AskedExplanation).where(AskedExplanation.id.in_(part)))
            audit.record(session, "mend", "asked_explanations", lost=len(part))
    if gone:
        yield f"{len(gone)} explanations that people had asked for were lost"
    lost = [row.id for row in rows if _is_lost(context, row.file)]
    for part in in_parts(lost):
        with context.sessions.begin() as session:
            session.execute(delete(Explanation).where(Explanation.id.in_(part)))
            audit.record(session, "mend", "explanations", lost=len(part))
    asked = upkeep.explain_again(context)
    if lost or asked:
        yield f"{len(lost)} explanations were lost; {asked} frames are explained again"


def _is_lost(context: Context, file: str) -> bool:
    """Whether an explanation cannot be read; a store that does not answer is told as that."""
    try:
        read_arrays(context, key_of(context, context.project.explanations, file))
    except (CurationError, OSError):
        return True
    return False


def _embeddings(context: Context) -> Iterator[str]:
    """Images whose vectors are gone are embedded again."""
    lost: dict[str, list[Known]] = defaultdict(list)
    checked: dict[str, bool] = {}
    for row in embeddings(context):
        if row.file not in checked:
            checked[row.file] = bool(damage_of(context, row.file))
        if checked[row.file]:
            lost[row.encoder].append(row)
    for encoder, rows in lost.items():
        images = sorted(row.image for row in rows)
        with context.sessions.begin() as session:
            for part in in_parts(images):
                session.execute(
                    delete(Embedding).where(
                        Embedding.encoder_version == encoder,
                        Embedding.image_id.in_(part),
                    )
                )
            size = context.settings.selection.batch_images
            request_embed(session, images, size, encoder=_once(encoder))
            audit.record(session, "mend", "embeddings", images=len(images))
        yield f"{len(images)} images are embedded again"


def _index(context: Context) -> Iterator[str]:
    """What is not in the index is put into it; a damaged index is put aside.

    Vectors that only the lost index held are made anew.
    """
    for encoder, known in by_encoder(embeddings(context)).items():
        name = f"index/{encoder[:16]}"
        try:
            images = held(context, encoder) or set()
        except (CurationError, OSError, ValueError):
            aside = begin_anew(context, encoder, _width(context, encoder, known))
            images = set()
            put = f"put aside as {aside}, delete it at will" if aside else "it begins anew"
            yield f"{name} is damaged: {put}"
        strangers = images - set(known)
        if strangers:
            opened = open_index(context, encoder, width_of(context, encoder))
            for image in sorted(strangers):
                opened.delete(image)
            yield f"{len(strangers)} images without an embedding are out of {name}"
        files = {row.file for row in known.values() if row.image not in images or not row.indexed}
        for file in sorted(files):
            _ask_index(context, encoder, file, images)
        if files:
            yield f"{len(files)} files of vectors are put into {name} again"
        slimmed = _slim(context, known, files)
        if slimmed:
            yield f"{slimmed} files no longer hold the vectors that {name} holds too"


def _slim(context: Context, known: Mapping[str, Known], asked: Collection[str]) -> int:
    """Take the regions out of the files of an earlier version that the index stands for."""
    done = 0
    for file in sorted({row.file for row in known.values()} - set(asked)):
        done += store.drop_regions(context, file)
    return done


def _width(context: Context, encoder: str, known: Mapping[str, Known]) -> int:
    """Width of an encoder's vectors, by the index or by what it was made from."""
    with contextlib.suppress(CurationError, OSError, ValueError):
        return width_of(context, encoder)
    for file in sorted({row.file for row in known.values()}):
        with contextlib.suppress(CurationError, OSError):
            regions = store.regions_of(context, file)
            if regions is not None:
                return int(regions.vectors[0].shape[1])
    return 0  # nothing is left of it: what is embedded again says


def _ask_index(context: Context, encoder: str, file: str, held: Collection[str]) -> None:
    """Ask for a file to be indexed; where it does not tell all of it, for the images' vectors.

    Args:
        context: wiring.
        encoder: of the vectors.
        file: of a batch.
        held: images in the index.
    """
    counts, regions = store.read(context, file)["counts"], store.regions_of(context, file)
    with context.sessions.begin() as session:
        mine = (Embedding.file == file, Embedding.encoder_version == encoder)
        stored = list(
            session.scalars(select(Embedding.image_id).where(*mine).order_by(Embedding.row))
        )
        # Some of its images were embedded anew since, or the index that held them is lost.
        gone = regions is None and not set(stored) <= set(held)
        if gone or len(stored) != len(counts):
            session.execute(delete(Embedding).where(*mine))
            request_embed(session, stored, len(stored), encoder=_once(encoder))
            return
        session.execute(update(Embedding).where(*mine).values(indexed=False))
        width = width_of(context, encoder) if regions is None else regions.vectors[0].shape[1]
        payload = {"file": file, "images": stored, "encoder": encoder, "width": width}
        units.enqueue(session, "index", _once(f"index:{file}"), payload)


def _once(name: str) -> str:
    """A key of its own: what has the plain one is done already."""
    return f"{name}:{secrets.token_hex(4)}"
