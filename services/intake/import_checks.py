"""Whether the labels of a source may be believed, before any of its images is looked at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from curation import formats
from curation.formats import Imported, ImportedImage, Problem
from curation.kernel.class_names import clean_class_name
from curation.kernel.errors import AnnotationsInvalid
from services.db.tables import Role
from services.errors import InvalidRequest
from services.models.classes import class_names

LABELLED_ROLES = (Role.SEED, Role.HOLDOUT, Role.SIBLINGS, Role.FIELD)


def require_labels(imported: Imported, role: Role, source: Path) -> None:
    """Refuse a source without labels, or with labels that cannot be trusted, where they are used.

    Raises:
        InvalidRequest: the role needs labels and there are none.
        AnnotationsInvalid: the file is wrong as a whole; the message names the likely cause.
    """
    if role not in LABELLED_ROLES:
        return
    if not imported.labelled:
        why = f"{source} has no annotations, and role {role} needs them"
        hint = formats.hint_above(source)
        raise InvalidRequest(f"{why}: {hint}" if hint else why)
    if imported.doubt:
        raise AnnotationsInvalid(
            f"{source}: {imported.doubt}; nothing of it was imported, mend the file and import "
            "again"
        )


def notes_on_classes(
    session: Session, items: Sequence[ImportedImage], role: Role, where: str
) -> list[str]:
    """What to say about classes that no detector of this project is taught.

    The seed set says which classes there are, and the pool has no labels. Before either seed set
    or champion is there, any class may come.

    Raises:
        InvalidRequest: the project knows none of the classes, so that nothing could be found.
    """
    known = set(class_names(session)[1:])
    used = {label for item in items for label in item.labels}
    strange = used - known
    if role == Role.SEED:
        return notes_on_alike(used, known)
    if role not in LABELLED_ROLES or not known or not strange:
        return []
    said = f"{_listed(strange)}; the seed set and the champion know {_listed(known)}"
    hint = _nearly_the_same(strange, known)
    if not used & known:
        raise InvalidRequest(
            f"{where}: this project knows none of its classes: {said}{hint}; name them alike in "
            "the file, or import a seed set that has them"
        )
    return [f"classes that this project does not know: {said}{hint}; their boxes are ignored"]


def notes_on_alike(used: Collection[str], known: Collection[str]) -> list[str]:
    """What to say about classes of a seed set that differ in how they are written alone.

    They stay apart, since capitals may mean something, and each then has half of the examples.
    """
    forms: dict[str, set[str]] = defaultdict(set)
    for name in {*used, *known}:
        forms[_plain(name)].add(name)
    alike = [_listed(names) for names in forms.values() if len(names) > 1 and names & set(used)]
    if not alike:
        return []
    told = f"classes that look alike stay apart: {'; '.join(sorted(alike))}"
    return [f"{told}; if they are one class, name it alike in the file and import again"]


def own_problems(imported: Imported, role: Role) -> list[Problem]:
    """Problems of the source itself; those of objects are told with their images.

    Labels of the pool are not stored, so that nothing is wrong with them.
    """
    of_images = {one for item in imported.items for one in item.refused}
    return [
        one
        for one in imported.problems
        if one not in of_images and (role in LABELLED_ROLES or one.loses != "labels")
    ]


def _nearly_the_same(strange: Iterable[str], known: Iterable[str]) -> str:
    meant = {_plain(name): name for name in known}
    pairs = [
        f"{name!r} is {meant[_plain(name)]!r} there"
        for name in sorted(strange)
        if _plain(name) in meant
    ]
    return f" (capitals and spaces count: {', '.join(pairs)})" if pairs else ""


def _plain(name: str) -> str:
    return " ".join(clean_class_name(name).replace("_", " ").split()).casefold()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))
