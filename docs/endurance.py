"""The page of what the service endures: kills, a restore, many frames, a second host."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import bars

from benchmarks.growth import warm_parts

DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
Document = dict[str, Any]


def page() -> str:
    """The page as Markdown; of what was not measured it says so."""
    lines = [
        "<!-- Written by docs/generated.py from benchmarks/results: measure, do not edit. -->",
        "",
        "# What it endures",
        "",
        wrapped(INTRODUCTION),
        "",
        *killed(),
        *restored(),
        *bounded(),
        *hosts(),
    ]
    return "\n".join(lines).rstrip() + "\n"


INTRODUCTION = """
Each figure was printed by the command beside it. Seconds depend on what else the machine did: its
load average as the measurement began is told beside them (on two cores, 2 is all that they can do).
Counts of what was lost or done twice do not.
"""
KILLED = """
A unit of work writes a file and, in its own transaction, a row that nothing but its fence keeps
from being written twice; every hundredth takes 0.2 s, so that kills meet units at work. All the
while something is killed (SIGKILL) or stands still for 3 s, longer than a lease: of the worker
processes one that works, a whole worker, the relay, the scheduler, Redis; of PostgreSQL all
processes, without a checkpoint; of the store the server; SQLite's file is held locked. Lost is a
unit that did not end, twice one whose row was written twice. With a store every twentieth unit
puts an object, which must be there at the end.
"""
RESTORED = """
Distinct pictures are imported into a project, workers embed and index them, and when half of the
units are done `e2x backup` copies it while they go on. The copy is restored as the command says,
examined by `e2x doctor --deep`, put to work until all its units are done, and examined again.
"""
BOUNDED = """
`e2x up` with all its processes takes in frames one after another; the champion looks at each, every
twentieth has a failure that is explained, for every ten frames a picture is imported into the pool,
embedded and indexed, and lists and metrics are read through the API. Memory is what belongs to a
process alone. The first two tenths are warm-up, and what follows until the scheduler's
housekeeping has run once, ten minutes after the start, which loads what it needs; the bars compare
the end of the warm-up with the end of all.
"""
HOSTS = """
A host is `e2x worker --queues explain` with settings alone, bound to one core. Database
(PostgreSQL) and store (SeaweedFS) are on the same machine and take their share of its cores.
"""


def load(file: str) -> Document:
    """A result file, empty where there is none."""
    path = bars.RESULTS / file
    return json.loads(path.read_text()) if path.is_file() else {}


def judged(document: Document, known: Mapping[str, bars.Bar]) -> Iterator[str]:
    """The table of the bars of a result file."""
    yield from ("| bar | goal | measured | |", "|---|---|---|---|")
    for name, said in document["bars"].items():
        yield bars.row(known[name], said)
    yield ""


def how(document: Document) -> Iterator[str]:
    """The command, and how busy the machine was."""
    yield f"`{document['command']}`, load average {document['load_before']:.1f} as it began."
    yield ""


def killed() -> Iterator[str]:
    """Units while processes are killed."""
    yield from ("## Units while processes are killed", "", wrapped(KILLED), "")
    found = {name: load(f"chaos-{name}.json") for name in DATABASES}
    found = {name: one for name, one in found.items() if "bars" in one}
    if not found:
        yield from unmeasured("benchmarks.chaos --units 100000")
        return
    rows = ("units", "done", "lost", "dead", "twice", "objects_missing", "tried_again", "seconds")
    yield "| | " + " | ".join(DATABASES[name] for name in found) + " |"
    yield "|---|" + "---|" * len(found)
    for key in rows:
        words = NAMES.get(key, key.replace("_", " "))
        yield f"| {words} | " + " | ".join(number(one[key]) for one in found.values()) + " |"
    yield "| store | " + " | ".join(one["store"] for one in found.values()) + " |"
    kills = sorted({name for one in found.values() for name in one["kills"]})
    for name in kills:
        shown = " | ".join(str(one["kills"].get(name, "–")) for one in found.values())
        yield f"| {KILLS.get(name, name + ' killed')} | {shown} |"
    yield ""
    for name, one in found.items():
        yield DATABASES[name] + ":"
        yield ""
        yield from judged(one, bars.CHAOS)
        yield from how(one)


NAMES = {
    "dead": "given up",
    "twice": "done twice",
    "tried_again": "whose worker was lost, and which another did",
}
KILLS = {
    "child": "working process killed",
    "worker-e0": "worker killed",
    "beat": "scheduler killed",
    "cut child": "working process stands still",
    "cut redis": "Redis stands still",
    "redis": "Redis killed",
    "database": "database crashes",
    "cut database": "database stands still",
    "cut store": "store stands still",
    "locked database": "database locked",
}


def restored() -> Iterator[str]:
    """Backup and restore."""
    yield from ("## Backup and restore", "", wrapped(RESTORED), "")
    one = load("backup.json")
    if not one:
        yield from unmeasured("benchmarks.backup --images 10000 --finish")
        return
    yield from judged(one, bars.BACKUP)
    at = f"{one['share_done_at_start']:.0%} to {one['share_done_at_end']:.0%} of its units done"
    said = {
        f"`e2x backup`, with {at}": seconds(one["backup_s"]),
        f"restored: `cp -a` of {one['restored_mib']:,.0f} MiB": seconds(one["restore_s"]),
        "`e2x doctor --deep` of what is restored": seconds(one["doctor_s"]),
        "broken there": number(one["broken_restored"]),
    }
    if "units_in_the_copy" in one:
        said |= {
            "units done in the end": number(one["units_in_the_copy"]),
            "`e2x doctor --deep` then": seconds(one["doctor_again_s"]),
            "broken then": number(one["broken_worked_on"]),
        }
    yield from ("| | |", "|---|---|")
    for words, value in said.items():
        yield f"| {words} | {value} |"
    yield ""
    yield from how(one)


def bounded() -> Iterator[str]:
    """Memory, descriptors and files after many frames."""
    yield from ("## Bounded growth", "", wrapped(BOUNDED), "")
    one = load("growth.json")
    if not one:
        yield from unmeasured("benchmarks.growth --frames 10000")
        return
    yield from judged(one, bars.GROWTH)
    parts = one["parts"]
    warmed = warm_parts(parts)
    shown = [parts[index] for index in sorted({0, 1, warmed - 1, len(parts) - 1})]
    yield "| MiB after frames | " + " | ".join(number(part["frames"]) for part in shown) + " |"
    yield "|---|" + "---|" * len(shown)
    for name in parts[-1]["mib"]:
        values = (f"{part['mib'][name]:.1f}" if name in part["mib"] else "–" for part in shown)
        yield f"| `{name}` | " + " | ".join(values) + " |"
    all_s = sum(part["seconds"] for part in parts)
    yield ""
    yield f"`worker-…-1` is the process of a worker that computes. In all {seconds(all_s)}."
    frames = number(parts[warmed - 1]["frames"])
    yield grown(frames, parts[warmed - 1]["mib"], parts[-1]["mib"])
    yield ""
    yield from how(one)


def grown(frames: str, warm: Mapping[str, float], last: Mapping[str, float]) -> str:
    """Which process grew most, and by how much all did."""
    most = max(warm.keys() & last.keys(), key=lambda name: last[name] / warm[name])
    both, then = sum(warm.values()), sum(last.values())
    return (
        f"After the warm-up of {frames} frames `{most}` grew most, from {warm[most]:.2f} to "
        f"{last[most]:.2f} MiB; all together from {both:,.0f} to {then:,.0f} MiB "
        f"({then / both - 1:+.1%})."
    )


def hosts() -> Iterator[str]:
    """Two hosts against one."""
    yield from ("## Two hosts", "", wrapped(HOSTS), "")
    one = load("hosts.json")
    if not one:
        yield from unmeasured("benchmarks.hosts --frames 40 --rounds 3")
        return
    yield from judged(one, bars.HOSTS)
    yield from ("| round | one host, explanations a second | two |", "|---|---|---|")
    for index, rates in enumerate(one["explanations_a_second"], 1):
        yield f"| {index} | {rates['one']:.2f} | {rates['two']:.2f} |"
    yield ""
    yield from how(one)


def unmeasured(command: str) -> Iterator[str]:
    """Said of what has no result file."""
    yield from (f"Not measured yet: `python -m {command}` does.", "")


def number(value: float) -> str:
    """A count, or a figure with one digit more."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def seconds(value: float) -> str:
    """A time."""
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.1f} minutes"


def wrapped(text: str) -> str:
    """A paragraph in lines of a hundred characters."""
    return "\n".join(textwrap.wrap(" ".join(text.split()), 100, break_on_hyphens=False))
