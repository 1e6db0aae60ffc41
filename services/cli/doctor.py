"""``e2x doctor``: what is installed, reachable and free, and what to do about the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from services.cli import doctor_machine, doctor_project
from services.cli.common import OURS, JsonOption, console, print_json
from services.cli.findings import Finding
from services.config.settings import Settings, get_settings
from services.errors import InvalidRequest


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    as_json: JsonOption = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every row and file, and compare them.")
    ] = False,
    sample: Annotated[
        int | None, typer.Option(min=1, help="With --deep: files of a kind to read at most.")
    ] = None,
    mend: Annotated[
        bool, typer.Option("--mend", help="With --deep: have what can be made again made again.")
    ] = False,
) -> None:
    """Look at everything that e2x needs; ends with status 1 where something needed fails."""
    if not deep and (mend or sample is not None):
        raise InvalidRequest("--sample and --mend go with --deep")
    findings = list(examine(get_settings()))
    missing = {one.what for one in findings if one.state == "fail"} & {"project", "database"}
    if deep and not missing:
        from services.cli import doctor_deep

        findings += doctor_deep.examine(get_settings(), sample, mend)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at the machine, then at the project."""
    yield from doctor_machine.examine(settings)
    from services import context as wiring

    try:
        context = wiring.build(settings)
    except (*OURS, OSError) as error:
        root = settings.resolved_project()
        yield Finding("project", "fail", str(error), f"e2x init {root}")
        return
    try:
        yield from doctor_project.examine(context)
    finally:
        context.engine.dispose()


def _print(findings: list[Finding]) -> None:
    marks: dict[str, tuple[str, str]] = {
        "ok": ("✓", "green"),
        "warn": ("!", "yellow"),
        "fail": ("✗", "bold red"),
    }
    write: Callable[..., None] = console().print
    for finding in findings:
        write(
            Text.assemble(
                marks[finding.state], " ", (f"{finding.what:<11}", "bold"), finding.found
            ),
            soft_wrap=True,
        )
        if finding.advice:
            write(Text(f"             {finding.advice}", "dim"), soft_wrap=True)
