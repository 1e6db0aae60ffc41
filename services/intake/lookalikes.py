"""Pictures of an import that another role has already, or nearly: what is learnt must not judge."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.dedup import near_duplicates_of
from services.db.tables import EVALUATION_ROLES, Image, Role

MAX_DISTANCE = 4
"""Bits of 64 in which the hashes of two pictures differ that are taken for one; the same as where
candidates are selected. A picture saved anew as JPEG differs in 0 or 1."""
FLAT = 4
"""Bits that a picture with anything in it has set, and unset, at least: flat ones look alike."""


def notes_on_lookalikes(session: Session, hashes: Mapping[str, int], role: Role) -> list[str]:
    """What to say about pictures of an import that another role has already, saved anew.

    Held against each other are pictures that are learnt from, or may be, and such that evaluate.
    The same bytes are refused before; here it is a note, since neighbours in a film look alike too.

    Args:
        session: for reading.
        hashes: perceptual hashes of the pictures that were imported, by id.
        role: theirs.
    """
    own = {key: value for key, value in hashes.items() if FLAT <= value.bit_count() <= 64 - FLAT}
    if not own:
        return []
    evaluates = role in EVALUATION_ROLES
    others = [one for one in Role if (one in EVALUATION_ROLES) != evaluates]
    query = select(Image.role, Image.perceptual_hash, Image.id).where(Image.role.in_(others))
    by_role: dict[str, list[int]] = {}
    for other, text, identity in session.execute(query):
        if identity not in own:
            by_role.setdefault(other, []).append(int(text, 16))
    told = []
    values = list(own.values())
    for other, theirs in sorted(by_role.items()):
        count = int(np.count_nonzero(near_duplicates_of(values, theirs, MAX_DISTANCE)))
        if count:
            told.append(
                f"{count} pictures nearly are pictures of role {other}: what is learnt from must "
                "not evaluate; leave them out of one, unless they only look alike"
            )
    return told
