"""``e2x mlflow``: the mirror of the registry."""

from __future__ import annotations

import typer

from services.cli.common import JsonOption, console, opened, print_facts, print_json, print_table
from services.db.engine import reading
from services.errors import Conflict

NONE = "no MLflow server is set: mlflow.tracking_uri (E2X_MLFLOW__TRACKING_URI)"

mlflow_app = typer.Typer(help="MLflow, which is told of every model where a server is set.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(mlflow_app, name="mlflow", no_args_is_help=True)


@mlflow_app.command("status")
def status(as_json: JsonOption = False) -> None:
    """Show what MLflow has been told of each model, and what not and why."""
    from services.mirror import standing

    with opened() as context, reading(context.sessions) as session:
        found = standing.of_server(session, context.settings.mlflow)
    if found is None:
        raise Conflict(NONE)
    if as_json:
        print_json(found)
        return
    facts = ("server", "experiment", "registered_model", "told_at", "tried_at", "error")
    print_facts("MLflow", [(name.replace("_", " "), found[name]) for name in facts])
    print_table(
        "Models",
        ("#no", "told", "#version", "run", "when", "error"),
        [
            (
                row["model"],
                not row["waits"],
                row["version"],
                row["run"],
                row["sent_at"],
                row["error"],
            )
            for row in found["models"]
        ],
    )


@mlflow_app.command("sync")
def sync(as_json: JsonOption = False) -> None:
    """Tell MLflow now what it has not been told; workers do so by themselves."""
    from services.mirror import deliver

    with opened() as context:
        done = deliver.run(context, patient=False)
    if as_json:
        print_json(done.to_dict())
    else:
        told = ", ".join(map(str, done.models)) or "none: it knows all"
        console().print(f"told of models: {told}")
        for number, why in done.refused.items():
            console().print(f"model {number} was not taken: {why}", style="yellow")
    if done.refused:
        raise typer.Exit(1)
