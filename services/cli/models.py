"""``e2x models``: the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text
from sqlalchemy import select

from services.cli.common import (
    JsonOption,
    columns_of,
    console,
    opened,
    print_facts,
    print_json,
    print_table,
)
from services.cli.cycle_output import print_gate, tell_unreadable
from services.cli.train import print_evaluation, print_limits, print_training
from services.cycle import unreadable
from services.db import actors
from services.db.engine import reading
from services.db.tables import Cycle, DatasetVersion, Model
from services.models.importing import DefaultBoxes

models_app = typer.Typer(help="Trained detectors; one of them is the champion.")

NameArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Number, or begin of the id.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(models_app, name="models", no_args_is_help=True)


def figure(model: Model, role: str, name: str) -> Any:
    """A figure of a model's stored evaluation, None where there is none."""
    return (model.reports or {}).get(role, {}).get(name)


@models_app.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """List all models, the newest first."""
    from services.models import pins, registry

    with opened() as context, reading(context.sessions) as session:
        rows, pinned_id = registry.models(session), pins.pinned_id(session)
    if as_json:
        told = [columns_of(row, "training") | {"pinned": row.id == pinned_id} for row in rows]
        print_json(told)
        return
    print_table(
        "Models",
        ("#no", "state", "id", "architecture", "cycle", "#mAP", "#AP50", "#siblings", "made"),
        [
            (
                row.number,
                f"{row.state}, pinned" if row.id == pinned_id else row.state,
                row.id[:12],
                row.architecture,
                row.cycle_id,
                figure(row, "holdout", "map"),
                figure(row, "holdout", "map50"),
                _found(row),
                row.created_at,
            )
            for row in rows
        ],
    )


def _found(model: Model) -> str:
    siblings = (model.reports or {}).get("siblings")
    return f"{siblings['found']}/{siblings['objects']}" if siblings else ""


@models_app.command("show")
def show_model(name: NameArgument, as_json: JsonOption = False) -> None:
    """Show one model: where it comes from, how it does, what the gate said of it."""
    from services.models import holding, pins, registry

    with opened() as context, reading(context.sessions) as session:
        model = registry.find(session, name)
        is_pinned = pins.pinned_id(session) == model.id
        dataset = (
            session.get(DatasetVersion, model.dataset_version_id)
            if model.dataset_version_id
            else None
        )
        parent = session.get(Model, model.parent_id) if model.parent_id else None
        cycle = session.scalar(
            select(Cycle).where(Cycle.challenger_id == model.id).order_by(Cycle.id.desc())
        )
        limits = holding.limits(context.settings, model)
        held = holding.why_held(session, context.settings, model)
    decision = cycle.decision if cycle else None
    lost = unreadable.of_model(model)
    if as_json:
        extra = {
            "dataset": columns_of(dataset) if dataset else None,
            "decision": decision,
            "unreadable": lost.to_dict(),
            "limits": limits,
            "held": held,
            "pinned": is_pinned,
        }
        print_json(columns_of(model) | extra)
        return
    print_facts(
        f"Model {model.number}",
        [
            ("id", model.id),
            ("state", f"{model.state}, pinned" if is_pinned else model.state),
            ("made", model.created_at),
            ("architecture", model.architecture),
            ("classes", ", ".join(model.class_names[1:])),
            ("parent", f"model {parent.number}" if parent else None),
            ("cycle", model.cycle_id),
            (
                "dataset",
                f"{dataset.images} images, {dataset.boxes} boxes, {dataset.id[:12]}"
                if dataset
                else None,
            ),
            ("folder", context.project.root / model.folder),
        ],
    )
    print_training(model)
    if model.reports:
        names = ("map", "map50", "objects", "found", "missed", "false_positives", "images")
        print_table(
            "Evaluation",
            ("set", *(f"#{name}" for name in names)),
            [(role, *(report.get(n) for n in names)) for role, report in model.reports.items()],
        )
    print_limits(limits)
    if held is not None:
        print_limits([held])
    tell_unreadable(lost)
    if decision:
        print_gate(decision)


@models_app.command("add")
def add_model(
    path: Annotated[
        Path, typer.Argument(help="Model folder, or a file with the weights of a whole SSD.")
    ],
    classes: Annotated[
        str,
        typer.Option(
            help="Of a file: names in the order of training, `car,bus`, or a file: text with one a "
            "line, data.yaml or JSON."
        ),
    ] = "",
    architecture: Annotated[
        str, typer.Option(help="Of a file: which SSD; without it `detector.architecture`.")
    ] = "",
    default_boxes: Annotated[
        DefaultBoxes | None,
        typer.Option(
            help="Of a file: where its default boxes lie, and its input size; without it "
            "torchvision's, where it has the architecture."
        ),
    ] = None,
    network: Annotated[
        str,
        typer.Option(
            help="Of a file with several networks: which, such as `model`; without it the only "
            "one, or of a network and the average of its weights the average."
        ),
    ] = "",
) -> None:
    """Add a detector that was trained elsewhere; the first becomes the champion.

    Adding again what is there adds nothing and is no error.
    """
    from services.models import evaluation, holding, importing, registry

    names = importing.read_class_names(classes) if classes else ()
    source = importing.Source(path, names, architecture or None, default_boxes, network)
    with opened() as context:
        with console().status("reading and checking the network"):
            loaded = importing.load(source, context.settings)
            known = importing.already_there(context, loaded.detector)
        if known is not None:
            console().print(f"0 models added: this is model {known.number} already, {known.state}")
            return
        with console().status("adding it"):
            model = importing.add(context, loaded.detector, path, actors.current().name)
        with console().status("evaluating it"):
            reports = evaluation.evaluate_splits(context, model.id)
        with reading(context.sessions) as session:
            first = registry.require_champion(session).id == model.id
            model = session.get_one(Model, model.id)
            lost, limits = unreadable.of_model(model), holding.limits(context.settings, model)
    if loaded.note:
        console().print(Text(f"{loaded.note}; `--network` names another"))
    said = "the champion" if first else f"a challenger: `e2x models promote {model.number}` uses it"
    console().print(f"model {model.number} is {said}", style="bold")
    print_evaluation(reports)
    print_limits(limits)
    tell_unreadable(lost)


@models_app.command("promote")
def promote(
    name: NameArgument,
    reason: Annotated[str, typer.Option(help="For the audit trail.")] = "",
) -> None:
    """Make a model the champion, whatever the gate said."""
    from services.models import registry

    with opened() as context, context.sessions.begin() as session:
        model = registry.find(session, name)
        registry.promote(session, model, actors.current().name, {"reason": reason or "by hand"})
    console().print(
        f"model {model.number} is the champion; the workers look at the field frames again"
    )


@models_app.command("rollback")
def rollback() -> None:
    """Bring back the champion before this one."""
    from services.models import registry
    from services.modes import recognise

    with opened() as context, context.sessions.begin() as session:
        model = registry.rollback(session, actors.current().name)
        recognise.settle(session, context.settings)
    console().print(
        f"model {model.number} is the champion again; the workers look at the field frames again"
    )


@models_app.command("pin")
def pin_model(name: NameArgument) -> None:
    """Pin the champion: until `unpin` nothing takes its place, whatever the gate says."""
    from services.models import pins, registry

    with opened() as context, context.sessions.begin() as session:
        model = registry.find(session, name)
        pins.pin(session, model)
    console().print(f"model {model.number} stays the champion until `e2x models unpin`")


@models_app.command("unpin")
def unpin_model() -> None:
    """Let challengers take the place of the champion again."""
    from services.models import pins, registry

    with opened() as context, context.sessions.begin() as session:
        model = registry.require_champion(session)
        pins.unpin(session, model)
    console().print(f"model {model.number} is the champion while it is the best")
