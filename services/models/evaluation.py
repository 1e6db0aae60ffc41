"""Models judged by labelled sets; what they scored is kept beside them and read again."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence

from curation.kernel.manifest import Manifest
from retrain.errors import ReportMismatch
from retrain.report import EvaluationReport
from services.config import builders
from services.context import Context
from services.db.engine import reading
from services.db.tables import Model, Role
from services.models import datasets, mirrored, summaries
from services.store import model_folders
from services.store.project_store import ProjectStore, store_of

logger = logging.getLogger(__name__)

REPORT_FORM = 1
"""Raised when the same model, labels and settings give another report."""


def evaluate_model(
    context: Context,
    model_id: str,
    manifest: Manifest,
    class_names: Sequence[str] | None = None,
) -> EvaluationReport:
    """A model on a labelled set; the report is kept beside the model and read when it is there.

    It is named by all that it follows from: what is labelled, the classes, the thresholds and the
    arithmetic. A report of anything else, or a damaged one, is passed over.

    Args:
        context: wiring.
        model_id: the model.
        manifest: the labelled set.
        class_names: the first of its classes, of which alone the report speaks; None: all.
    """
    with reading(context.sessions) as session:
        model = session.get_one(Model, model_id)
        folder, all_names = model.folder, model.class_names
    names = all_names if class_names is None else class_names
    return evaluated(context, folder, manifest, names)


def evaluated(
    context: Context,
    folder: str,
    manifest: Manifest,
    class_names: Sequence[str],
) -> EvaluationReport:
    """The model in a folder, registered or not yet; arguments as of :func:`evaluate_model`."""
    names = list(class_names)
    store = store_of(context)
    key = f"{folder}/{model_folders.REPORTS}{report_key(context, manifest, names)}.json"
    kept = _kept_report(store, key)
    if kept is not None:
        return kept
    from retrain.evaluate import evaluate  # loads PyTorch, which reading a report does not need

    with model_folders.local(context, folder) as path:
        detector = builders.load_detector(path, context.settings)
    with store.local_images(item.file for item in manifest.items) as image_root:
        report = evaluate(
            detector,
            manifest,
            image_root,
            score_threshold=context.settings.failures.score_threshold,
            iou_threshold=context.settings.failures.iou_threshold,
            class_names=names,
            limits=builders.image_limits(context.settings),
        )
    if not report.unreadable:  # else it is evaluated again once the files are back
        store.put(key, (json.dumps(report.to_dict(), indent=1) + "\n").encode())
    return report


def report_key(context: Context, manifest: Manifest, class_names: Sequence[str]) -> str:
    """What a report of any one model follows from, beside the model, as 32 hex digits."""
    told = {
        **summaries.against(context, manifest.version),
        "form": REPORT_FORM,
        "classes": list(class_names),
        "device": context.settings.detector.device,
    }
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _kept_report(store: ProjectStore, key: str) -> EvaluationReport | None:
    """A report that is kept, None where there is none that can be read."""
    try:
        return EvaluationReport.from_dict(json.loads(store.get(key)))
    except FileNotFoundError:
        return None
    except (ReportMismatch, ValueError, OSError) as error:
        logger.warning("the model is evaluated again, its report cannot be read: %s", error)
        return None


def evaluate_splits(context: Context, model_id: str) -> dict[str, EvaluationReport]:
    """A model on every evaluation role that has images; summaries go to its row."""
    with reading(context.sessions) as session:
        folder, sets = session.get_one(Model, model_id).folder, summaries.sets_of(session)
    reports = {role: evaluate_model(context, model_id, each) for role, each in sets.items()}
    told = summaries.summaries_of(context, folder, reports, sets)
    with context.sessions.begin() as session:
        model = session.get_one(Model, model_id)
        if model.reports != told:
            model.reports = told
            mirrored.want(session, model_id)
    return reports


def measured(context: Context, model_id: str) -> Model:
    """A model with its figures on the holdout, which may be younger than the model.

    What images cost to label is told from them, and the gate needs them later in any case.
    """
    with reading(context.sessions) as session:
        model = session.get_one(Model, model_id)
        holdout = datasets.labelled_set(session, Role.HOLDOUT)
    known = (model.reports or {}).get(Role.HOLDOUT, {})
    now = summaries.against(context, holdout.version)
    # Figures of an older version of this program do not say what they follow from.
    judged = known.get("images", 0) + known.get("unreadable", 0)
    fresh = known.get(summaries.AGAINST, now) == now and judged == len(holdout.items)
    if fresh or not holdout.items:
        return model
    evaluate_splits(context, model_id)
    with reading(context.sessions) as session:
        return session.get_one(Model, model_id)


def reports_of(
    context: Context, model_id: str, class_names: Sequence[str] | None = None
) -> dict[str, EvaluationReport]:
    """A model on every evaluation role that has images; see :func:`evaluate_model`."""
    with reading(context.sessions) as session:
        sets = summaries.sets_of(session)
    return {
        role: evaluate_model(context, model_id, manifest, class_names)
        for role, manifest in sets.items()
    }
