"""Dataset versions: which labelled images a model is trained and judged on."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation.manifest import Manifest, leaks
from services.classes import class_names
from services.context import Context
from services.db.tables import Annotation, Cycle, DatasetVersion, Image, Role
from services.errors import Conflict
from services.rows import manifest_of

TRAINING_ROLES = (Role.SEED, Role.POOL)


def build_version(session: Session, context: Context, cycle: Cycle | None) -> DatasetVersion:
    """Freeze everything that is labelled for training into an immutable version.

    The same labels give the same version, also when it is built twice.

    Args:
        session: the caller's transaction.
        context: wiring.
        cycle: what it is built for; its champion's version becomes the parent.

    Raises:
        Conflict: nothing is labelled, or an evaluation image would be trained on.
    """
    parent = _parent(session)
    images = session.scalars(
        select(Image)
        .where(
            Image.role.in_(TRAINING_ROLES),
            select(Annotation.id).where(Annotation.image_id == Image.id).exists(),
        )
        .order_by(Image.id)
    ).all()
    if not images:
        raise Conflict("there is nothing to train on: run `e2x import FOLDER --role seed`")
    manifest = manifest_of(session, images, class_names(session), parent)
    _refuse_leaks(session, manifest)
    known = session.get(DatasetVersion, manifest.version)
    if known is not None:
        return known
    path = manifest.write(context.project.manifests)
    row = DatasetVersion(
        id=manifest.version,
        parent_id=parent,
        cycle_id=None if cycle is None else cycle.id,
        file=path.name,
        images=len(manifest.items),
        boxes=sum(len(item.labels) for item in manifest.items),
    )
    session.add(row)
    session.flush()
    return row


def read_version(context: Context, row: DatasetVersion) -> Manifest:
    """The manifest of a stored version, checked against its name."""
    return Manifest.read(context.project.manifests / row.file)


def labelled_set(session: Session, role: Role) -> Manifest:
    """All labelled images of a role, under the classes that the project knows."""
    images = session.scalars(select(Image).where(Image.role == role).order_by(Image.id)).all()
    return manifest_of(session, images, class_names(session))


def _parent(session: Session) -> str | None:
    from services import registry  # the registry asks for scans, whose units name a cycle

    champion = registry.champion(session)
    return None if champion is None else champion.dataset_version_id


def _refuse_leaks(session: Session, manifest: Manifest) -> None:
    for role in (Role.HOLDOUT, Role.SIBLINGS):
        shared = leaks(manifest, labelled_set(session, role))
        if shared:
            raise Conflict(f"{len(shared)} images of {role} would be trained on: {min(shared)} …")


def labelled_images(session: Session) -> int:
    """How many images could be trained on."""
    return (
        session.scalar(
            select(func.count(func.distinct(Annotation.image_id)))
            .join(Image, Image.id == Annotation.image_id)
            .where(Image.role.in_(TRAINING_ROLES))
        )
        or 0
    )
