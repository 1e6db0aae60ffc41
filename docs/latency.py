"""The page of how long a frame takes to its label task: from the result file."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import bars

FILE = "latency.json"


def page() -> str:
    """The page as Markdown."""
    if not (bars.RESULTS / FILE).is_file():
        return UNMEASURED
    document = json.loads((bars.RESULTS / FILE).read_text())
    lines = [
        "<!-- Written by docs/generated.py from benchmarks/results: measure, do not edit. -->",
        "",
        "# From a frame's report to its label task",
        "",
        wrapped(INTRODUCTION),
        "",
        "| bar | goal | measured | |",
        "|---|---|---|---|",
        *(bars.row(bars.LATENCY[name], said) for name, said in document["bars"].items()),
        "",
        "| seconds | median | 90 % | most |",
        "|---|---|---|---|",
        row("**from the report to the task**", document["total_s"]),
        row("**of that the service itself**", document["own_s"]),
        *(row(name, spread) for name, spread in document["parts_s"].items()),
        "",
        "What the stages computed, by stage; two workers compute at once where there is work:",
        "",
        "| seconds | median | 90 % | most |",
        "|---|---|---|---|",
        *(row(f"`{kind}`", spread) for kind, spread in document["stages_s"].items()),
        "",
        "## How it was measured",
        "",
        wrapped(HOW.format(frames=document["frames"], **document["machine"])),
        "",
        f"`{document['command']}`",
    ]
    return "\n".join(lines) + "\n"


UNMEASURED = """\
<!-- Written by docs/generated.py from benchmarks/results: measure, do not edit. -->

# From a frame's report to its label task

Not measured yet: `python -m benchmarks.latency` does, on a machine that does nothing else, and
`python docs/generated.py` writes this page from what it finds.
"""
INTRODUCTION = """
How long it takes from the first byte of a report to the moment in which somebody can be given the
label task that the frame asked for. Every moment is given to one part: what stages compute, which
depends on the detector and the machine, and the rest, which is the service's own share. The time
that a trigger waits (`triggers.interval_s`, 10 s by default) or until enough failures are together
is a setting and in none of these figures.
"""
HOW = """
{frames} frames of the street world, one after another, each reported by `POST /v1/frames` to a
service that had nothing else to do: relay, scheduler, API and two workers with one thread each on
{cores} cores (load average {load_average} as it began), SQLite, the embedded broker, the demo's
detector and encoder at 192 x 256 px, a pool of 120 images. A cycle is begun by `POST /v1/cycles` as
soon as the report is answered, waits for scan and explanation by itself, and is cancelled once it
asks for labels. The times are those of the service's own [traces](../watching.md#traces), so that
they hold what making these costs. The first frame, with which the workers load the networks, is not
counted.
"""


def row(name: str, spread: dict[str, Any]) -> str:
    """A line of a table."""
    return (
        f"| {name} | "
        + " | ".join(f"{spread[key]:.3f}" for key in ("median", "p90", "most"))
        + " |"
    )


def wrapped(text: str) -> str:
    """A paragraph in lines of a hundred characters."""
    return "\n".join(textwrap.wrap(" ".join(text.split()), 100, break_on_hyphens=False))
