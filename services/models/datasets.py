"""Dataset versions: which labelled images a model is trained and judged on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from curation.kernel.errors import ManifestMismatch
from curation.kernel.manifest import Manifest, diff, leaks
from services.context import Context
from services.db import sides
from services.db.base import utc_now
from services.db.convert import manifest_of
from services.db.engine import reading
from services.db.parts import in_parts
from services.db.races import insert_new
from services.db.tables import (
    TAKEN_BACK,
    Annotation,
    DatasetVersion,
    FailureRow,
    FieldSide,
    GeneratedRow,
    Image,
    Model,
    Role,
    SampleState,
)
from services.errors import Conflict
from services.models import registry
from services.models.classes import TRAINING_ROLES, class_names

logger = logging.getLogger(__name__)


def build_version(context: Context, cycle_id: int | None = None) -> DatasetVersion:
    """Freeze everything that is labelled for training into an immutable version.

    The same labels give the same version, also when it is built twice, or by two at once. All is
    read from one view and written to the file before the transaction, which writes a row.

    Args:
        context: wiring.
        cycle_id: what it is built for; the champion's version becomes the parent.

    Raises:
        Conflict: nothing is labelled, or an evaluation image would be trained on.
    """
    return _stored(context, _manifest_of_now(context), cycle_id)


@dataclass(frozen=True, slots=True)
class Versions:
    """What a cycle trains on.

    Attributes:
        first: trained on in any case.
        drawn: the same with drawn samples that the champion has not learned from, trained on beside
            it so that the gate can choose; None where ``first`` is all there is.
    """

    first: DatasetVersion
    drawn: DatasetVersion | None = None


def build_versions(context: Context, cycle_id: int | None) -> Versions:
    """What is trained on now, without new drawn samples and with them.

    One version is enough where nothing new was drawn, where nothing *else* is new, since the
    champion itself is the model without them then, and where the setting says so.

    Raises:
        Conflict: see :func:`build_version`.
    """
    whole = _manifest_of_now(context)
    parent = _manifest_of(context, whole.parent)
    known = {item.image for item in parent.items} if parent else set()
    plain = replace(
        whole,
        items=tuple(one for one in whole.items if not one.generated or one.image in known),
    )
    fresh = len(whole.items) - len(plain.items)
    alone = not plain.items or (parent is not None and not any(_changes(parent, plain)))
    never = context.settings.synthesis.ablation == "never"
    if cycle_id is None or not fresh or alone or never:
        return Versions(_stored(context, whole, cycle_id))
    return Versions(_stored(context, plain, cycle_id), _stored(context, whole, cycle_id))


def _changes(parent: Manifest, plain: Manifest) -> tuple[tuple[str, ...], ...]:
    found = diff(parent, plain)
    return found.added, found.removed, found.relabelled


def _manifest_of_now(context: Context) -> Manifest:
    with reading(context.sessions) as session:
        return _manifest(session)


def _manifest_of(context: Context, version_id: str | None) -> Manifest | None:
    """A stored manifest; None where there is none, or where it is lost."""
    if version_id is None:
        return None
    with reading(context.sessions) as session:
        row = session.get_one(DatasetVersion, version_id)
    try:
        return read_version(context, row)
    except (OSError, ManifestMismatch) as error:
        logger.warning("what the champion was trained on cannot be read: %s", error)
        return None


def _stored(context: Context, manifest: Manifest, cycle_id: int | None) -> DatasetVersion:
    with reading(context.sessions) as session:
        known = session.get(DatasetVersion, manifest.version)
    if known is not None:
        return known
    path = manifest.write(context.project.manifests)
    row = {
        "id": manifest.version,
        "parent_id": manifest.parent,
        "cycle_id": cycle_id,
        "file": path.name,
        "images": len(manifest.items),
        "boxes": sum(len(item.labels) for item in manifest.items),
        "generated": sum(bool(item.generated) for item in manifest.items),
        "created_at": utc_now(),
    }
    with context.sessions.begin() as session:
        insert_new(session, DatasetVersion, [row], ("id",))
        return session.get_one(DatasetVersion, manifest.version)


def _manifest(session: Session) -> Manifest:
    """What would be trained on now."""
    images = session.scalars(
        select(Image)
        .where(
            or_(Image.role.in_(TRAINING_ROLES), sides.is_taught(), _is_kept()),
            select(Annotation.id).where(Annotation.image_id == Image.id).exists(),
        )
        .order_by(Image.id)  # the version is a hash of the items in their order
    ).all()
    if not images:
        raise Conflict("there is nothing to train on: run `e2x import FOLDER --role seed`")
    manifest = manifest_of(session, images, class_names(session), _parent(session))
    manifest = _with_origins(session, manifest, {i.id for i in images if i.role == Role.FIELD})
    manifest = _with_generators(session, manifest, {i.id for i in images if _is_drawn(i)})
    _refuse_leaks(session, manifest)
    return manifest


def _is_kept() -> ColumnElement[bool]:
    """Whether the image of the enclosing query was drawn and is kept."""
    kept = (
        select(GeneratedRow.id)
        .where(GeneratedRow.image_id == Image.id, GeneratedRow.state == SampleState.KEPT)
        .correlate(Image)
        .exists()
    )
    return and_(Image.role == Role.GENERATED, kept)


def _is_drawn(image: Image) -> bool:
    return image.role == Role.GENERATED


def _with_generators(session: Session, manifest: Manifest, drawn: set[str]) -> Manifest:
    """The same, where each drawn image tells who drew it."""
    names = dict[str, str]()
    for part in in_parts(sorted(drawn)):
        rows = session.scalars(select(GeneratedRow).where(GeneratedRow.image_id.in_(part)))
        names |= {str(row.image_id): f"{row.generator}:{row.generator_version}" for row in rows}
    items = [replace(item, generated=names.get(item.image, "")) for item in manifest.items]
    return replace(manifest, items=tuple(items))


def _with_origins(session: Session, manifest: Manifest, frames: set[str]) -> Manifest:
    """The same, where each field frame tells the failure that it is there for."""
    first = sides.origins(session, frames)
    items = [replace(i, origin=i.origin or first.get(i.image)) for i in manifest.items]
    return replace(manifest, items=tuple(items))


def fresh_frames(session: Session, model_id: str | None) -> int:
    """Field frames with truth that would teach, and that a model's dataset could not have yet.

    Args:
        session: only read from.
        model_id: the champion; None: no model has learned anything, so that all count.
    """
    query = (
        select(func.count(func.distinct(Image.id)))
        .join(Annotation, Annotation.image_id == Image.id)
        .join(FieldSide, FieldSide.group == sides.group_name())
        .where(sides.is_taught())
    )
    if model_id is not None:
        query = query.where(_is_new_to(session, session.get_one(Model, model_id)))
    return session.scalar(query) or 0


def new_samples(session: Session, model_id: str | None) -> int:
    """Kept samples that were decided on after a model's dataset was built.

    Args:
        session: only read from.
        model_id: the champion; None: all count.
    """
    query = select(func.count()).where(GeneratedRow.state == SampleState.KEPT)
    if model_id is not None:
        since = taught_until(session, session.get_one(Model, model_id))
        query = query.where(GeneratedRow.decided_at > since)
    return session.scalar(query) or 0


def taught_until(session: Session, model: Model) -> datetime:
    """What came later a model has not learned from."""
    version = model.dataset_version_id and session.get(DatasetVersion, model.dataset_version_id)
    return version.created_at if version else model.created_at


def _is_new_to(session: Session, model: Model) -> ColumnElement[bool]:
    """Whether the frame of the enclosing query came to teach after a model's dataset was built."""
    since = taught_until(session, model)
    newly_failing = (
        select(FailureRow.id)
        .where(
            FailureRow.image_id == Image.id,
            FailureRow.model_id == model.id,
            FailureRow.state.not_in(TAKEN_BACK),
            FailureRow.created_at > since,
        )
        .correlate(Image)
        .exists()
    )
    return or_(FieldSide.created_at > since, Annotation.created_at > since, newly_failing)


def read_version(context: Context, row: DatasetVersion) -> Manifest:
    """The manifest of a stored version, checked against its name."""
    return Manifest.read(context.project.manifests / row.file)


def labelled_set(session: Session, role: Role) -> Manifest:
    """All labelled images of a role, under the classes that the project knows."""
    images = session.scalars(select(Image).where(Image.role == role).order_by(Image.id)).all()
    return manifest_of(session, images, class_names(session))


def _parent(session: Session) -> str | None:
    champion = registry.champion(session)
    return None if champion is None else champion.dataset_version_id


def _refuse_leaks(session: Session, manifest: Manifest) -> None:
    for role in (Role.HOLDOUT, Role.SIBLINGS):
        shared = leaks(manifest, labelled_set(session, role))
        if shared:
            raise Conflict(f"{len(shared)} images of {role} would be trained on: {min(shared)} …")


def labelled_images(session: Session, roles: Sequence[Role] = TRAINING_ROLES) -> int:
    """How many images of these roles are labelled; without: how many could be trained on."""
    return (
        session.scalar(
            select(func.count(func.distinct(Annotation.image_id)))
            .join(Image, Image.id == Annotation.image_id)
            .where(Image.role.in_(roles))
        )
        or 0
    )
