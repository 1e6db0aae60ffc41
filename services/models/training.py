"""From labels to a registered model: dataset version, supervised run, registry."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from curation.kernel.manifest import Manifest
from retrain.config import DetectorConfig, TrainConfig
from retrain.description import config_of
from services import units
from services.config import builders
from services.context import Context
from services.db.engine import reading
from services.db.tables import Cycle, DatasetVersion, Model, Unit, UnitState
from services.errors import Conflict
from services.models import checkpoints, datasets, evaluation, registry, summaries
from services.models.training_process import run_job, together
from services.store import model_folders
from services.store.project_store import store_of
from services.units import threads

logger = logging.getLogger(__name__)

FIRST_KEY = "train:first"
HAS_CHAMPION = (
    "there is a champion already: `e2x cycle run` trains the next; `e2x train --again` trains one "
    "from the beginning"
)


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run, not yet registered."""

    model_id: str
    folder: str
    class_names: tuple[str, ...]
    dataset_id: str
    parent_id: str | None
    training: dict[str, Any]
    reports: dict[str, Any] = field(default_factory=dict)
    """Of the first detector, by :func:`~services.models.evaluation.evaluate_splits`: what it can is
    known before it is the champion, since explanations of its failures depend on it."""


def request(session: Session, again: bool = False) -> Unit:
    """Ask for the first detector; once more, where the last try was parked.

    Args:
        session: the caller's transaction.
        again: another one from the beginning, though there is a champion.

    Raises:
        Conflict: there is a champion already, or nothing to train on.
    """
    if registry.champion(session) is not None and not again:
        raise Conflict(HAS_CHAMPION)
    if not datasets.labelled_images(session):
        raise Conflict("there is nothing to train on: run `e2x import FOLDER --role seed`")
    unit = units.enqueue(session, "train", FIRST_KEY, {"cycle": None})
    number = 1
    while again and unit.state == UnitState.DONE:
        number += 1
        unit = units.enqueue(session, "train", f"{FIRST_KEY}:{number}", {"cycle": None})
    return units.redrive(session, unit.id) if unit.state == UnitState.DEAD else unit


def run(
    context: Context,
    cycle_id: int | None,
    on_beat: Callable[[dict[str, Any]], None],
    version: DatasetVersion | None = None,
    drawn: bool = False,
    fence: checkpoints.Fence = (0, 0),
) -> Trained:
    """Train on a dataset version; a killed run resumes, on another host too.

    Args:
        context: wiring.
        cycle_id: the cycle that retrains; None for the first detector.
        on_beat: told the progress of the process.
        version: what to train on; None: all that is labelled now.
        drawn: whether it is the training with drawn samples beside another without.
        fence: the claim under which it runs, see :mod:`services.models.checkpoints`.

    Raises:
        LeaseLost: another host trains it, under a later claim.
    """
    settings = context.settings
    if version is None:
        version = datasets.build_version(context, cycle_id)
    with reading(context.sessions) as session:
        cycle = None if cycle_id is None else session.get_one(Cycle, cycle_id)
        champion = None if cycle is None else registry.require_champion(session)
        seed = settings.seed if cycle is None else cycle.seed
    manifest = datasets.read_version(context, version)
    name = run_name(cycle_id, drawn)
    folder = context.project.runs / name
    fine_tune = champion is not None and tuple(champion.class_names) == manifest.class_names
    config = builders.train_config(
        settings,
        fine_tune=fine_tune,
        seed=seed,
        threads=threads.available(context),
    )
    init = None
    detector = builders.detector_config(settings, manifest.class_names)
    if champion is not None and fine_tune:
        before = model_folders.for_run(context, champion.folder, folder)
        init = str(before)
        # Weights fit the input and the default boxes that they were trained with.
        detector = config_of(before)
    with store_of(context).local_images((item.file for item in manifest.items), name) as images:
        job = {
            "out": str(folder),
            "manifest": str(datasets.for_run(context, version, folder)),
            "image_root": str(images),
            "train": config.to_dict(),
            "detector": detector.to_dict(),
            "init": init,
            "limits": asdict(builders.image_limits(settings)),
        }
        told = {
            "manifest": version.id,
            "init": None if champion is None or init is None else champion.id,
            "train": config.of_the_result(),
            **{name: job[name] for name in ("detector", "limits")},
        }
        with _kept_elsewhere(context, folder, fence, told) as kept:
            done = None if kept is None else kept.take()
            if done is not None:
                return Trained(**{**done, "class_names": tuple(done["class_names"])})

            def beat(progress: dict[str, Any]) -> None:
                on_beat(progress)
                if kept is not None:
                    kept.beat()

            asked = settings.training
            others = together(asked)
            result = run_job("train", folder, job, asked.stall_s, beat, together=others)
            trained = _trained(context, version, champion, config, detector, manifest, result)
            if kept is not None:
                kept.end(asdict(trained))
    return trained


def _kept_elsewhere(
    context: Context, folder: Path, fence: checkpoints.Fence, job: dict[str, Any]
) -> contextlib.AbstractContextManager[checkpoints.Checkpoints | None]:
    """Checkpoints in the store, where that is not the project folder."""
    store = store_of(context)
    if not store.is_apart(context.project.root):
        return contextlib.nullcontext()
    folder.mkdir(parents=True, exist_ok=True)
    return checkpoints.Checkpoints(store.objects, folder, fence, job)


def _trained(
    context: Context,
    version: DatasetVersion,
    champion: Model | None,
    config: TrainConfig,
    detector: DetectorConfig,
    manifest: Manifest,
    result: dict[str, Any],
) -> Trained:
    """What came of a run, its model in its lasting place."""
    if result["unreadable"]:
        logger.warning(
            "trained without %d images that cannot be read, such as %s: put the files back from a "
            "backup, the next training takes them up",
            len(result["unreadable"]),
            result["unreadable"][0],
        )
    kept = model_folders.keep(
        context, result["version"], partial(shutil.copytree, Path(result["model"]))
    )
    return Trained(
        model_id=result["version"],
        folder=kept,
        class_names=manifest.class_names,
        dataset_id=version.id,
        parent_id=None if champion is None else champion.id,
        training={
            "architecture": detector.architecture,
            "seconds": result["seconds"],
            **config.to_dict(),
            "weights": result["weights"],
            "unreadable": result["unreadable"],
            "generated": _generators(manifest),
            "history": result.get("history"),  # None: a result of an older version
        },
        reports={} if champion is not None else _first_look(context, kept, manifest.class_names),
    )


def _first_look(context: Context, folder: str, names: Sequence[str]) -> dict[str, Any]:
    with reading(context.sessions) as session:
        sets = summaries.sets_of(session)
    reports = {
        role: evaluation.evaluated(context, folder, each, names) for role, each in sets.items()
    }
    return summaries.summaries_of(context, folder, reports, sets)


def _generators(manifest: Manifest) -> dict[str, int]:
    """How many of the images were drawn, by name and version of who drew them."""
    return dict(sorted(Counter(one.generated for one in manifest.items if one.generated).items()))


def run_name(cycle_id: int | None, drawn: bool = False) -> str:
    """The folder of a cycle's training run below ``runs/``."""
    if cycle_id is None:
        return "train-first"
    return f"train-cycle-{cycle_id}" + ("-drawn" if drawn else "")
