"""``e2x train``: the first detector, from the seed set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import TaskID

from services.cli.common import console, opened, print_table
from services.cli.curve import curve_lines
from services.cli.cycle_output import tell_unreadable
from services.cli.follow import follow_unit, progress, show_beat
from services.cycle import unreadable
from services.db.engine import reading
from services.db.tables import Model, UnitState
from services.errors import Conflict, InvalidRequest, ServiceError

if TYPE_CHECKING:
    from retrain.report import EvaluationReport
    from services.context import Context

TITLE = "train the first detector"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train)


def train(
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Train one from the beginning beside the champion, as settings and labels are "
            "now; it takes the champion's place if it finds more of the holdout.",
        ),
    ] = False,
    suggest: Annotated[
        bool,
        typer.Option(
            "--suggest", help="Train nothing: propose default boxes that fit the seed set."
        ),
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="With --suggest: set them, and train with them.")
    ] = False,
) -> None:
    """Train the first detector on the seed set; later ones come from cycles.

    By steps, until a share of the images that is held back gains no more (`training.patience`), or
    by `training.epochs`.
    """
    if apply and not suggest:
        raise InvalidRequest("--apply belongs to --suggest")
    if suggest:
        from services.cli.suggest import suggest as propose

        propose(apply)
        if not apply:
            return
    _train(again)


def _train(again: bool) -> None:
    from services.models import datasets, evaluation, holding, registry, training
    from services.worker.supervisor import running

    with opened() as context:
        with reading(context.sessions) as session:
            if registry.champion(session) is not None and not again:
                raise Conflict(training.HAS_CHAMPION)
            if not datasets.labelled_images(session):
                raise Conflict("there is nothing to train on: `e2x import FOLDER --role seed`")
        by_workers = context.settings.broker_url or running(context.project) is not None
        model = _by_workers(context, again) if by_workers else _here(context, again)
        reports = evaluation.evaluate_splits(context, model.id)
        with reading(context.sessions) as session:
            model = session.get_one(Model, model.id)
            first = registry.require_champion(session).id == model.id
            lost = unreadable.of_model(model)
        limits = holding.limits(context.settings, model)
    said = "the champion" if first else f"a challenger: {_why_challenger(again)}"
    console().print(f"model {model.number} is {said}", style="bold")
    print_training(model)
    print_evaluation(reports)
    print_limits(limits)
    tell_unreadable(lost)


def _why_challenger(again: bool) -> str:
    if again:
        return "it does not find more of the holdout than the champion does"
    return "another became the champion meanwhile"


def print_training(model: Model) -> None:
    """How long it was trained, why it ended, and the curve; nothing where that is not known."""
    for line in curve_lines((model.training or {}).get("history")):
        console().print(line, markup=False, soft_wrap=True)


def print_limits(limits: Sequence[str]) -> None:
    """What a model cannot do."""
    for line in limits:
        console().print(f"! {line}", markup=False, style="yellow", soft_wrap=True)


def print_evaluation(reports: Mapping[str, EvaluationReport]) -> None:
    """Figures of a model on each labelled set; nothing where there is none."""
    if reports:
        print_table(
            "Evaluation",
            ("set", "#mAP", "#AP50", "#found", "#objects"),
            [
                (
                    role,
                    report.map,
                    report.map50,
                    sum(outcome.found for outcome in report.objects),
                    len(report.objects),
                )
                for role, report in reports.items()
            ],
        )


def _here(context: Context, again: bool) -> Model:
    """In a process of this one."""
    from services.models.first_training import train_here

    with progress() as bars:
        task = bars.add_task(TITLE, total=None, note="loading")

        def on_beat(beat: dict[str, Any]) -> None:
            show_beat(bars, task, beat)

        model = train_here(context, on_beat, again)
        bars.update(task, completed=1, total=1, note="")
    return model


def _by_workers(context: Context, again: bool) -> Model:
    """By the train worker that runs."""
    from services.accounts import audit
    from services.models import training
    from services.models.training_process import read_progress

    folder = context.project.runs / training.run_name(None)
    with context.sessions.begin() as session:
        unit_id = training.request(session, again).id
        audit.record(session, "model.train", f"unit:{unit_id}")
    with progress() as bars:

        def look(task: TaskID) -> None:
            show_beat(bars, task, read_progress(folder))

        unit = follow_unit(context, unit_id, bars, TITLE, look)
    if unit.state != UnitState.DONE:
        said = (unit.error or "").strip().splitlines()[-1:] or ["no reason was given"]
        raise ServiceError(
            f"training ended as {unit.state}: {said[0]}; `e2x units show {unit.id}` has the rest, "
            "`e2x train` tries again"
        )
    with reading(context.sessions) as session:
        return session.get_one(Model, (unit.result or {})["model"])
