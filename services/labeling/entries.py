"""Which stored image an entry of a label tool's file means: tools rename files and drop keys."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.formats.coco_document import size_of
from curation.formats.names import readings
from curation.kernel.errors import AnnotationsInvalid
from services.db.tables import ASKED_TASKS, Image, LabelTask
from services.intake.objects import plain_text

_IMAGE_ID = re.compile("[0-9a-f]{64}")
MAX_NAME = 300
"""Characters of a name, as they are stored."""


def image_of(session: Session, entry: dict[str, Any]) -> Image | None:
    """The image that an entry means; None where no task ever asked for one of that name.

    Found by ``e2x_image``, by the exported file name, which is the content hash, or by the name
    that the image was imported with, if only one image that was asked for has it; in each of the
    readings that a name has where a tool has put an address around it or a prefix before it.

    Args:
        session: the caller's transaction.
        entry: of the COCO document's ``images``.

    Raises:
        AnnotationsInvalid: several images have that name, or this one has another size.
    """
    found = _by_hash(session, str(entry.get("e2x_image") or ""))
    for reading in readings(str(entry.get("file_name", ""))):
        name = plain_text(reading.name, MAX_NAME)
        found = found or _by_hash(session, Path(name).stem) or _by_name(session, name)
    if found is None:
        return None
    _require_same_size(entry, found)
    return found


def _by_hash(session: Session, told: str) -> Image | None:
    return session.get(Image, told) if _IMAGE_ID.fullmatch(told) else None


def _by_name(session: Session, name: str) -> Image | None:
    """The image of that name that is asked for, or else one that was.

    Raises:
        AnnotationsInvalid: there are several.
    """
    for state in (LabelTask.state.in_(ASKED_TASKS), LabelTask.state.not_in(ASKED_TASKS)):
        asked = select(LabelTask.image_id).where(state)
        named = Image.name.in_(_forms(name))
        found = session.scalars(select(Image).where(named, Image.id.in_(asked))).all()
        if len(found) > 1:
            raise AnnotationsInvalid(
                f"{len(found)} images that labels were asked for have this name: use the file "
                "names of `e2x labels export`, or keep its `e2x_image`"
            )
        if found:
            return found[0]
    return None


def _forms(name: str) -> set[str]:
    """Ways to write a name that mean one file: composed or not, the suffix in either case."""
    stem, dot, suffix = name.rpartition(".")
    cases = {name, f"{stem}{dot}{suffix.lower()}", f"{stem}{dot}{suffix.upper()}"}
    return {unicodedata.normalize(form, one) for form in ("NFC", "NFD") for one in cases}


def _require_same_size(entry: dict[str, Any], image: Image) -> None:
    """A name may be given twice, a picture of another size is certainly another one.

    Raises:
        AnnotationsInvalid: the entry tells another size.
    """
    told = size_of(entry)
    if all(told) and told != (image.width_px, image.height_px):
        raise AnnotationsInvalid(
            f"the image that labels were asked for is {image.width_px} x {image.height_px} px, "
            f"this one {told[0]} x {told[1]}"
        )
