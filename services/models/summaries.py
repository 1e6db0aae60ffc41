"""What is kept with a model of its evaluations: figures by role, and what they follow from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from curation.kernel.manifest import Manifest
from retrain.description import config_of
from retrain.report import EvaluationReport
from services.context import Context
from services.db.tables import Role
from services.models import datasets
from services.store import model_folders

EVALUATED = (Role.HOLDOUT, Role.SIBLINGS)
AGAINST = "against"
"""Key of a summary: the labels and thresholds that its figures follow from."""


def sets_of(session: Session) -> dict[str, Manifest]:
    """What models are evaluated on: every evaluation role that has images."""
    sets = {str(role): datasets.labelled_set(session, role) for role in EVALUATED}
    return {role: manifest for role, manifest in sets.items() if manifest.items}


def summaries_of(
    context: Context,
    folder: str,
    reports: Mapping[str, EvaluationReport],
    sets: Mapping[str, Manifest],
) -> dict[str, Any]:
    """Figures of each report, with how the model's default boxes fit the objects of the set.

    Args:
        context: wiring.
        folder: of the model.
        reports: by role.
        sets: what each is of, see :func:`sets_of`.
    """
    from retrain.default_boxes import coverage

    with model_folders.local(context, folder) as path:
        config = config_of(path)
    return {
        role: {
            **summary(report),
            "default_boxes": coverage(config, sets[role].items).to_dict(),
            AGAINST: against(context, report.manifest_version),
        }
        for role, report in reports.items()
    }


def against(context: Context, manifest_version: str) -> dict[str, Any]:
    """The labels and thresholds that figures follow from now."""
    failures = context.settings.failures
    return {
        "labelled": manifest_version,
        "score_threshold": failures.score_threshold,
        "iou_threshold": failures.iou_threshold,
    }


def summary(report: EvaluationReport) -> dict[str, Any]:
    """The figures of a report that a table shows."""
    found = sum(outcome.found for outcome in report.objects)
    return {
        "map": report.map,
        "map50": report.map50,
        "objects": len(report.objects),
        "found": found,
        "missed": len(report.objects) - found,
        "false_positives": report.false_positives,
        "images": report.num_images,
        "unreadable": report.unreadable,
        "per_class50": {name: metrics.ap50 for name, metrics in report.per_class.items()},
    }
