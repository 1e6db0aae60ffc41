"""Pages that the code writes itself, so that they cannot say something else.

``python docs/generated.py`` writes them; a test compares, and the site is built from them.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NOTE = "<!-- Written by docs/generated.py: change the code, not this page. -->"


def settings_page() -> str:
    """Every setting with its default and bounds."""
    from services.cli.config import settings_table

    return (
        f"{NOTE}\n\n# Settings\n\n`e2x.toml` in the project, or variables such as "
        "`E2X_SELECTION__BUDGET_BOXES`; `e2x config`\nshows each with its value and where it comes "
        f"from.\n\n{settings_table().strip()}\n"
    )


def api_page() -> str:
    """Every route of the HTTP API with what it answers."""
    document = _openapi()
    lines = [
        NOTE,
        "",
        "# HTTP API",
        "",
        "`e2x up` prints its address; `/docs` there tries it out, `/openapi.json` describes it for",
        "programs. Each request but those for everybody needs a login or a token of a user whose",
        "role is the last column's at least; the project's token, in `state/api-token`, is an",
        "admin's outside of production ([accounts](accounts.md)). Errors are JSON with `code` and",
        "`message`. A 503 says that the database is busy or out of reach: send the request again.",
        "",
        "| request | what it does | answers | least role |",
        "|---|---|---|---|",
    ]
    for path, methods in sorted(document["paths"].items()):
        for method, said in methods.items():
            lines.append(_row(path, method, said))
    return "\n".join(lines) + "\n"


def _openapi() -> dict[str, Any]:
    """The description of the API, from the application itself on a project that is thrown away."""
    from services import context
    from services.api.app import create_app
    from services.config.settings import PROJECT_FILE, Settings

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / PROJECT_FILE).touch()
        wired = context.build(Settings(project=Path(folder)))
        try:
            document: dict[str, Any] = create_app(wired).openapi()
        finally:
            wired.engine.dispose()
    return document


def _row(path: str, method: str, said: dict[str, Any]) -> str:
    text = str(said.get("description") or said.get("summary") or "")
    first = re.split(r"\n\s*\n", text)[0].replace("\n", " ").replace("|", "\\|")
    answers = ", ".join(sorted(said.get("responses", {})))
    role = said["x-least-role"] or "everybody"
    return f"| `{method.upper()} {path}` | {first} | {answers} | {role} |"


def commands_page() -> str:
    """Every command with its arguments and options, as ``--help`` tells them."""
    from typer.main import get_command

    from services.cli import make_app

    lines = [NOTE, "", "# Commands", ""]
    _add_command(lines, get_command(make_app()), "e2x")
    return "\n".join(lines).rstrip() + "\n"


def _add_command(lines: list[str], command: Any, name: str) -> None:
    """The section of a command, or those of a group's; Typer brings its own kind of click."""
    for child, sub in sorted(getattr(command, "commands", {}).items()):
        _add_command(lines, sub, f"{name} {child}")
    if getattr(command, "commands", None):
        return
    context = command.context_class(command, info_name=name)
    records = [parameter.get_help_record(context) for parameter in command.params]
    usage = command.collect_usage_pieces(context)
    lines.extend(
        [f"## `{name}`", "", _prose(command.help or ""), "", f"`{' '.join([name, *usage])}`", ""]
    )
    rows = [
        f"| `{_cell(told[0])}` | {_cell(told[1]).replace('<', '&lt;')} |"
        for told in records
        if told is not None and told[0] != "--help"
    ]
    if rows:
        lines.extend(["| argument or option | what it does |", "|---|---|", *rows, ""])


def _prose(text: str) -> str:
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(" ".join(one.split()) for one in paragraphs)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def metrics_page() -> str:
    """Every metric with its labels and where its figures come from."""
    from services.telemetry.catalogue import METRICS

    lines = [
        NOTE,
        "",
        "# Metrics",
        "",
        "What `/metrics` and `e2x metrics` say; [Watching it](watching.md) says how to scrape",
        "them, and what to do when they are bad. A histogram has `_bucket`, `_sum` and `_count`.",
        "Beside these the API says `process_…` of its own process.",
        "",
        "| metric | kind | labels | what it is | who knows |",
        "|---|---|---|---|---|",
    ]
    for metric in METRICS.values():
        name = metric.name if len(metric.exposed) > 1 else metric.exposed[0]
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
        lines.append(f"| `{name}` | {metric.kind} | {labels} | {metric.help} | {metric.source} |")
    return "\n".join(lines) + "\n"


def bars_page() -> str:
    """All bars of the benchmarks."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]  # this folder is no package
    import bars

    return bars.page()


def field_frames_page() -> str:
    """What learning from the failing frames is worth, and what a policy adds."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    import field_frames

    return field_frames.page()


def scale_page() -> str:
    """What a project costs as its pool grows."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    import scale

    return scale.page()


def latency_page() -> str:
    """How long a frame takes to its label task."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    import latency

    return latency.page()


def sizes_page() -> str:
    """What a project takes: disk, memory, processors."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    import sizes

    return sizes.page()


def endurance_page() -> str:
    """What the service endures: kills, a restore, many frames, a second host."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    import endurance

    return endurance.page()


def engines_page() -> str:
    """The engines of the region index beside each other."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    import engines

    return engines.page()


def drawn_samples_page() -> str:
    """What drawn samples reproduce, by recipe and cause."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    import drawn_samples

    return drawn_samples.page()


def chart_schema() -> str:
    """What the values of the Helm chart may be."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    import chart_schema

    return chart_schema.page()


PAGES = {
    "settings.md": settings_page,
    "http_api.md": api_page,
    "commands.md": commands_page,
    "metrics.md": metrics_page,
    "results/bars.md": bars_page,
    "results/field_frames.md": field_frames_page,
    "results/scale.md": scale_page,
    "results/latency.md": latency_page,
    "results/endurance.md": endurance_page,
    "results/index_engines.md": engines_page,
    "sizes.md": sizes_page,
    "results/drawn_samples.md": drawn_samples_page,
    "../deploy/helm/e2x/values.schema.json": chart_schema,
}


def write_pages(folder: Path) -> None:
    """Write the pages, those that are right already not again."""
    for name, make in PAGES.items():
        page, text = folder / name, make()
        if not page.is_file() or page.read_text() != text:
            page.write_text(text)


if __name__ == "__main__":
    write_pages(HERE)
    sys.stdout.write(f"{len(PAGES)} pages in {HERE}\n")
