"""``e2x demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_FOLDER = Path("demo")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    folder: Annotated[
        Path, typer.Option(help="Where world, project, report and result go.")
    ] = DEFAULT_FOLDER,
    seed: Annotated[int, typer.Option(help="Of world, training and selection.", min=0)] = 0,
    cycles: Annotated[int, typer.Option(help="Turns of the loop.", min=1)] = 2,
    compare: Annotated[
        str | None, typer.Option(help="Run another selection policy beside, such as `random`.")
    ] = None,
    budget: Annotated[int, typer.Option(help="Boxes to label a cycle.", min=0)] = 0,
    pool: Annotated[int, typer.Option(help="Unlabelled images.", min=0)] = 0,
    seed_images: Annotated[int, typer.Option(help="Labelled start set.", min=0)] = 0,
    field: Annotated[int, typer.Option(help="Field frames to report.", min=0)] = 0,
    epochs: Annotated[int, typer.Option(help="Of the first detector.", min=0)] = 0,
    mistakes: Annotated[
        float, typer.Option(help="Share of boxes the annotator gets wrong.", min=0, max=1)
    ] = 0.02,
    stay: Annotated[
        bool, typer.Option("--stay", help="Then leave the service up, with a login for its pages.")
    ] = False,
) -> None:
    """Watch a detector fail, see why, and see it repaired; two cycles in a generated world.

    Sizes of 0 take the defaults, which finish on two cores in minutes.
    """
    from dataclasses import replace

    from services.cli.common import Screen
    from services.demo.run import DemoOptions, run_demo
    from services.demo.sizes import DemoSize
    from services.units import threads

    threads.set_variables(threads.cores())  # before PyTorch loads, for the report's pictures
    asked = {
        "budget_boxes": budget,
        "pool_images": pool,
        "seed_images": seed_images,
        "field_frames": field,
        "epochs": epochs,
    }
    size = replace(DemoSize(cycles=cycles), **{key: value for key, value in asked.items() if value})
    options = DemoOptions(folder.resolve(), size, seed, compare, mistakes, stay)
    run_demo(options, Screen())
