"""The rows of an import: of images whose files are in the store already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.formats import ImportedImage, Problem
from services.accounts import audit
from services.context import Context
from services.db import revisions
from services.db.races import insert_new
from services.db.tables import EVALUATION_ROLES, Image, Observation, Role
from services.intake import import_truth
from services.intake.import_files import ImportReport, Kept, name_of
from services.intake.import_options import ImportOptions
from services.intake.objects import plain_text
from services.store.storage import StoredImage
from services.units.requests import request_embed, request_scan


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of images whose files are in the store; nothing slow belongs here.

    Attributes:
        context: wiring.
        kept: the images and their entries.
        role: what they may be used for.
        options: of the import.
    """

    context: Context
    kept: Sequence[Kept]
    role: Role
    options: ImportOptions

    def write(self, session: Session) -> ImportReport:
        """Write them; what that did."""
        report = ImportReport()
        rows = {image.id: self._row(image, item) for image, item in self.kept}
        fresh = {key[0] for key in insert_new(session, Image, list(rows.values()), ("id",))}
        held = revisions.hold_images(session, rows)  # the same images at once: one by one
        items = {
            image.id: item
            for image, item in self.kept
            if _admissible(held[image.id].role, self.role, name_of(item), report)
        }
        report.images_added, report.images_known = len(fresh), len(items.keys() - fresh)
        audit.record(
            session,
            "images.import",
            f"role:{self.role}",
            added=len(fresh),
            known=report.images_known,
        )
        if self.role == Role.POOL:
            batch = self.context.settings.selection.batch_images
            request_embed(session, sorted(fresh), batch)
            return report
        report.boxes = sum(len(item.labels) for item in items.values())
        report.ignored = sum(sum(item.ignore) for item in items.values())
        report.empty = sum(not item.labels for item in items.values())
        report.unlabelled = sum(item.unlabelled for item in items.values())
        counting = import_truth.store(
            session, items, report, replace_corrections=self.options.replace_corrections
        )
        if self.role == Role.FIELD:
            _observe(session, counting)
        return report

    def _row(self, image: StoredImage, item: ImportedImage) -> dict[str, Any]:
        group = item.group if self.options.group is None else self.options.group
        return {
            "id": image.id,
            "role": self.role,
            "file": image.file,
            "name": name_of(item),
            "width_px": image.width_px,
            "height_px": image.height_px,
            "perceptual_hash": image.perceptual_hash,
            "group": plain_text(group, 120),
        }


def _admissible(stored: str, wanted: Role, name: str, report: ImportReport) -> bool:
    """An image has one role; evaluation images above all must never be trained on.

    It stays where it is, which is no failure but where one side is to judge and the other to teach:
    then the set that was named is not what the project has. The pool teaches nothing by itself.
    """
    if stored == wanted:
        return True
    report.images_elsewhere += 1
    advice = "it stays there"
    judges = stored in EVALUATION_ROLES or wanted in EVALUATION_ROLES
    if judges:
        advice = "an evaluation image must not be trained on; it stays there"
    elif (stored, wanted) == (Role.POOL, Role.SEED):
        advice += "; `e2x labels import --replace` puts a wrong answer about it right"
    told = f"is in role {stored} already: {advice}"
    lost = judges and wanted != Role.POOL
    report.problems.append(Problem(name, told, "labels" if lost else "nothing"))
    return False


def _observe(session: Session, revisions: dict[str, int]) -> None:
    """Ask for a look at each field image, and for another where its truth has changed."""
    known = {
        row.image_id: row
        for row in session.scalars(
            select(Observation).where(Observation.image_id.in_(list(revisions)))
        )
    }
    for image_id, revision in revisions.items():
        if image_id not in known:
            session.add(Observation(image_id=image_id, has_truth=True, reporter="import"))
        else:
            known[image_id].has_truth = True
        request_scan(session, image_id, f"r{revision}" if revision > 1 else "")
