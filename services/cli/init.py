"""``e2x init``: a project folder with its settings file, database and token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.common import choose_project, console
from services.config.project import Project
from services.config.settings import PROJECT_FILE, Settings, get_settings
from services.errors import InvalidRequest
from services.store import private

USEFUL = (
    "seed",
    "detector.architecture",
    "detector.input_height_px",
    "detector.input_width_px",
    "detector.min_scale",
    "detector.max_scale",
    "detector.device",
    "training.epochs",
    "training.finetune_epochs",
    "training.max_steps",
    "training.batch_size",
    "ingest.ignore_below_px",
    "ingest.watch_folder",
    "failures.score_threshold",
    "explanation.num_samples",
    "explanation.min_recall",
    "explanation.mixed_precision",
    "selection.policy",
    "selection.budget_boxes",
    "labels.wait_for_all",
    "gate.max_map_drop",
    "gate.max_class_drop",
    "gate.auto_promote",
    "triggers.new_failures",
    "triggers.cycle_cron",
    "triggers.new_labels",
    "api.host",
    "api.port",
)
"""Written into a new project's file, as comments with their defaults."""

EXAMPLES = {"ingest.watch_folder": "incoming"}
"""Shown for settings without a default."""

HEADER = """\
# Settings of this project. A line without its # replaces the default that it shows.
# `e2x config` lists all settings; a variable such as E2X_TRAINING__EPOCHS=5 wins over this file.
"""
NEXT = """\
next:
  cd {folder}
  e2x import SEED_FOLDER --role seed          labelled start set (COCO, VOC or YOLO)
  e2x import HOLDOUT_FOLDER --role holdout    labelled, for evaluation only
  e2x import POOL_FOLDER --role pool          unlabelled images to choose from
  e2x train                                   the first detector
  e2x models add WEIGHTS --classes car,bus    or the one that you have
  e2x up                                      the services, until Ctrl-C"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def init(
    folder: Annotated[
        Path, typer.Argument(help="The project folder; made where missing.")
    ] = Path(),
    recount: Annotated[
        bool,
        typer.Option("--recount", help="Count the classes anew, as `e2x doctor` may advise."),
    ] = False,
) -> None:
    """Make a project folder, or bring an existing one up to date."""
    root = folder.expanduser().resolve()
    if root.exists() and not root.is_dir():
        raise InvalidRequest(f"{root} is a file: name a folder")
    root.mkdir(parents=True, exist_ok=True)
    file = root / PROJECT_FILE
    fresh = not file.exists()
    if fresh:
        file.write_text(settings_file(), encoding="utf-8")
    choose_project(root)
    Project(root).make()
    with private.keeping_ours():
        _prepare(recount)
    out = console()
    out.print(f"{'made' if fresh else 'kept'} {file}; database and token are in {root / 'state'}")
    if fresh:
        out.print(NEXT.format(folder=root), markup=False)


def _prepare(recount: bool) -> None:
    """Tables and token of the chosen project."""
    from services import context as wiring
    from services.api.auth import project_token
    from services.db import label_uses, migrate
    from services.db.engine import sqlite_file

    context = wiring.build(get_settings())
    try:
        # An older version may not have kept them. At every start it would cost as much as all
        # annotations together; `e2x doctor` compares them whenever it is asked.
        if migrate.upgrade(context.engine) or recount:
            with context.sessions.begin() as session:
                label_uses.recount(session, mend=True)
        if context.settings.environment == "local":
            project_token(context)
        private.close(context.project, sqlite_file(context.engine))
    finally:
        context.engine.dispose()


def settings_file() -> str:
    """The text of a new project's settings file."""
    lines, group = [HEADER], ""
    for name in USEFUL:
        table, _, key = name.rpartition(".")
        model: Any = Settings.model_fields[table].default_factory if table else Settings
        field = model.model_fields[key]
        if table != group:
            lines.append(f"\n[{table}]")
            group = table
        lines.append(f"# {field.description}")
        lines.append(f"# {key} = {_toml(EXAMPLES.get(name, field.default))}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(str(value))
