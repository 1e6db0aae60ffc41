"""The page of what a pool costs as it grows: from the result file, with what the figures say."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import bars

FILE = "scale.json"


def page() -> str:
    """The page as Markdown; a part that was not measured is left out."""
    document = json.loads((bars.RESULTS / FILE).read_text())
    lines = [
        "<!-- Written by docs/generated.py from benchmarks/results: measure, do not edit. -->",
        "",
        "# A pool that grows",
        "",
        wrapped(INTRODUCTION),
        "",
        "| bar | goal | measured | |",
        "|---|---|---|---|",
        *(bars.row(bars.SCALE[name], said) for name, said in document["bars"].items()),
        "",
    ]
    if grown := document.get("cycles"):
        lines += [*million(document), *sizes(grown), *policies(grown)]
    lines += [*imports(document), *frames(document), *stored(document)]
    lines += ["## How it was measured", "", wrapped(HOW.format(**told(document))), ""]
    lines += [f"- {part}: `{command}`" for part, command in document.get("commands", {}).items()]
    return "\n".join(lines).rstrip() + "\n"


INTRODUCTION = """
What a project costs depends on what it asks for, not on what its pool holds: the index proposes for
each failure mode what could answer it, the champion looks at that, and the policy chooses of it.
Policies that compare the whole pool say so (`e2x cycle plan` says how many images they look at and
about how long that takes); they see it a batch at a time.
"""
HOW = """
One thread a process, on a machine with {cores}; another program ran beside it. The failures are
{failures} explained ones of a detector of the street world, found and explained by the service
itself, with a budget of {budget} boxes. Rows of the pool are written in bulk as the import, embed
and index stages leave them: vectors drawn around those of {pictures} real pictures, {regions}
regions an image instead of the 35 of a real project, whole-image vectors likewise; the rows share
the pictures' files. Detector and encoder look at half of the street world's resolution. Each size
is asked in the same state: what a cycle wrote is taken back before the pool grows on. Processes
are measured alone, memory as the peak that the kernel reports.
"""


def told(document: dict[str, Any]) -> dict[str, Any]:
    """What the text about the measurement names."""
    grown = document.get("cycles", {})
    return {
        "cores": f"{document['machine']['cores']} cores",
        "failures": grown.get("failures", "no"),
        "budget": grown.get("budget_boxes", "no"),
        "pictures": grown.get("real_pictures", "no"),
        "regions": grown.get("regions_an_image", "no"),
    }


def million(document: dict[str, Any]) -> Iterator[str]:
    """What the largest pool costs, in words, and what it would with all regions."""
    largest = document["cycles"]["sizes"][-1]
    if largest["images"] <= 10_000:
        return
    images, cycle = largest["images"], largest["cycle"]
    first = next(one for one in document["cycles"]["sizes"] if one["images"] >= 10_000)
    ratio = cycle["processor_s"] / first["cycle"]["processor_s"]
    looked = cycle["images_looked_at"] / first["cycle"]["images_looked_at"]
    regions = document["cycles"]["regions_an_image"]
    retrieval = json.loads((bars.RESULTS / "retrieval.json").read_text())["bars"]
    resident = retrieval["resident_bytes_a_vector_1e6"]["value"]
    more = (REGIONS - regions) * images * resident / 2**30
    yield f"## What {images:,} images cost"
    yield ""
    yield wrapped(
        f"A cycle takes {ratio:.2f} times the processor time of one with {first['images']:,} "
        f"images, and looks at {looked:.2f} times as many images: how many depends on how far "
        f"the proposals of the modes overlap. For an image that is looked at it is "
        f"{ratio / looked:.2f} times. Selecting takes {cycle['peak_mib'] / 1024:.1f} GiB at its "
        f"peak with {regions} regions an image; what the index knows of every image, its name, "
        f"place and shards, is held, and pages of mapped files count. With all {REGIONS}, the "
        f"{resident:.0f} resident bytes a region of [the index](index_at_size.md) would add "
        f"{more:.1f} GiB: that is computed, not measured."
    )
    yield ""


REGIONS = 35
"""Of a pool image in a real project."""


def sizes(grown: dict[str, Any]) -> Iterator[str]:
    """A cycle, the plan, the API and the disk, by size of the pool."""
    rows = grown["sizes"]
    yield from ("## From the start of a cycle to label tasks that wait", "")
    yield from table(
        (
            "pool images",
            "processor s",
            "of these the champion's",
            "images looked at",
            "tasks",
            "peak MiB",
        ),
        [
            (
                f"{one['images']:,}",
                number(one["cycle"]["processor_s"]),
                number(one["cycle"]["processor_s_by_unit"]["score_pool"]),
                one["cycle"]["images_looked_at"],
                one["cycle"]["tasks"],
                number(one["cycle"]["peak_mib"]),
            )
            for one in rows
        ],
    )
    yield from ("## The plan and the API", "")
    yield from table(
        ("pool images", "plan, processor s", "plan, peak MiB", *LISTS, "API, peak MiB"),
        [
            (
                f"{one['images']:,}",
                number(one["plan"]["processor_s"]),
                number(one["plan"]["peak_mib"]),
                *(f"{number(ms['p50'])} / {number(ms['p95'])}" for ms in one["api_ms"].values()),
                number(one["peak_mib"]["api"]),
            )
            for one in rows
        ],
    )
    yield from ("## The disk", "")
    yield from table(
        ("pool images", "database MiB", "index MiB", "beside the index MiB"),
        [
            (
                f"{one['images']:,}",
                *(number(one["bytes"][key] / 2**20) for key in ("database", "index", "embeddings")),
            )
            for one in rows
        ],
    )


LISTS = tuple(f"`GET /v1/{name}` ms, p50 / p95" for name in ("failures", "modes", "tasks"))


def policies(grown: dict[str, Any]) -> Iterator[str]:
    """Policies that compare the whole pool."""
    if not grown["policies"]:
        return
    yield from ("## Policies that compare the whole pool", "")
    yield wrapped(
        "The choice alone, from a pool that the champion has looked at already; most of "
        "the memory is PyTorch, the encoder and the index."
    )
    yield ""
    yield from table(
        ("policy", "pool images", "processor s", "peak MiB"),
        [
            (
                f"`{one['policy']}`",
                f"{one['images']:,}",
                number(one["processor_s"]),
                number(one["peak_mib"]),
            )
            for one in grown["policies"]
        ],
    )


def frames(document: dict[str, Any]) -> Iterator[str]:
    """Frames that come in beside many labelled images, and beside none."""
    part = document.get("frames")
    if part is None:
        return
    yield from ("## Frames that come in", "")
    yield wrapped(
        f"{part['clients']} clients send frames with their truth to one API process, of a project "
        f"with {part['labelled_images']:,} labelled images and of one with none, by turns; medians "
        f"of {part['rounds']} rounds."
    )
    yield ""
    yield from table(
        ("database", "a second, none", "a second, all", "ratio, with 95 % interval"),
        [
            (
                one["database"],
                number(one["a_second_empty"]),
                number(one["a_second_full"]),
                f"{one['ratio']:.2f} [{one['low']:.2f}, {one['high']:.2f}]",
            )
            for one in part["databases"]
        ],
    )


def imports(document: dict[str, Any]) -> Iterator[str]:
    """Speed of imports, and what a kill does to one."""
    if steps := document.get("import"):
        yield from ("## Import", "")
        yield from table(
            ("images of 640 x 480", "a second of a core", "statements an image"),
            [
                (
                    f"{one['images']:,}",
                    number(one["images_a_second_of_a_core"]),
                    number(one["queries_an_image"]),
                )
                for one in steps
            ],
        )
    if outcome := document.get("resume"):
        there = ", ".join(f"{count:,}" for count in outcome["rows_after_each_kill"])
        yield wrapped(
            f"An import of {outcome['images']:,} small pictures was killed three times, with "
            f"{there} rows stored, and run once more, which added "
            f"{outcome['added_by_the_last_import']:,}. In the end there were {outcome['rows']:,} "
            f"rows and {outcome['files']:,} files, {outcome['rows_without_file']} rows without a "
            f"file, {outcome['files_without_row']} files without a row, and "
            f"{outcome['embedded_twice']} images asked to be embedded twice."
        )
        yield ""


def stored(document: dict[str, Any]) -> Iterator[str]:
    """Bytes an image with all of its regions."""
    if rows := document.get("stored"):
        yield from ("## Bytes an image, with 35 regions", "")
        yield from table(
            ("pool images", "database", "index", "beside the index", "in all"),
            [
                (
                    f"{one['images']:,}",
                    *(number(value) for value in one["bytes_an_image"].values()),
                    number(one["bytes_an_image_in_all"]),
                )
                for one in rows
            ],
        )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """A table and an empty line."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
    yield ""


def number(value: float) -> str:
    """Three figures, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else bars.number(value)


def wrapped(text: str) -> str:
    """A paragraph."""
    return textwrap.fill(" ".join(text.split()), 100, break_on_hyphens=False)
