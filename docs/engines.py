"""The page that holds the engines of the region index beside each other, from the result file."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

import bars

FILE = "retrieval.json"
NAMES = {"faiss": "FAISS", "lancedb": "LanceDB, folder", "lancedb_s3": "LanceDB, bucket"}
COLUMNS = (
    "engine",
    "recall@10",
    "query p50 / p99 ms, processor",
    "clock",
    "7 queries p50 / p99",
    "images scored p50 / p99",
    "regions added a second",
    "seal s",
    "bytes a region",
    "with old versions",
    "delete p50 ms",
    "came back",
)


def page() -> str:
    """The page as Markdown; sizes that were not measured are left out."""
    measured = json.loads((bars.RESULTS / FILE).read_text()).get("engines", {})
    lines = [
        "<!-- Written by docs/generated.py from benchmarks/results: measure, do not edit. -->",
        "",
        "# Engines of the region index",
        "",
        wrapped(INTRODUCTION),
        "",
    ]
    for size, rows in sorted(measured.get("sizes", {}).items(), key=lambda one: int(one[0])):
        lines += [*of_size(int(size), rows), ""]
    if measured:
        cores = measured["machine"]["cores"]
        sizes = sorted(int(size) for size in measured["sizes"])
        largest = f"{sizes[-1]:,}".replace(",", " ")
        told = " ".join(map(str, sizes))
        lines += [
            wrapped(HOW.format(cores=cores, sizes=told)),
            "",
            wrapped(NOT_TESTED.format(largest=largest)),
        ]
    return "\n".join(lines).rstrip() + "\n"


INTRODUCTION = """
`index.engine` says what holds the regions of the pool ([storage](../storage.md)). Both engines do
what one protocol asks (`curation/index/protocol.py`) and pass the same tests; here are the same
vectors and the same questions, one engine after the other.
"""
HOW = """
`python -m benchmarks.retrieval --sizes --hashes --engines {sizes}`, one thread a process
where the engine can be told so, on a machine with {cores} cores on which other programs ran: times
of the processor are hardly stretched by those, times of the clock are. Vectors are those of
[the index at size](index_at_size.md).
Recall is against comparison with every vector under the engine's own metric; 95 % intervals over
queries. Images scored: 7 regions of a mode against the pool. Added a second is by the clock, with
what an addition does besides, without the seal. Bytes are of all files: FAISS keeps codes alone,
LanceDB the vectors as half floats (1728 bytes), the vectors under the metric and short codes; files
of old versions stay for a day. Images are deleted one by one, and their own regions asked for.
"""
NOT_TESTED = """
Not tested by us: LanceDB on Amazon's S3 and above {largest} regions; clusters of Qdrant and Milvus,
which were the other candidates, and for which there is no server among the packages that tests can
install.
"""


def of_size(size: int, rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The table of one size."""
    yield f"## {size:,} regions".replace(",", " ")
    yield ""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|" + "---|" * len(COLUMNS)
    for name, row in rows.items():
        yield "| " + " | ".join([NAMES[name], *cells(row)]) + " |"


def cells(row: dict[str, Any]) -> Iterator[str]:
    """A row's figures."""
    yield "{:.3f} [{:.3f}, {:.3f}]".format(*row["recall_at_10"])
    yield pair(row["single"], "cpu")
    yield pair(row["single"], "wall")
    yield pair(row["mode_search"], "cpu")
    yield pair(row["mode_score_images"], "cpu")
    yield f"{row['regions'] / row['add_wall_s']:,.0f}".replace(",", " ")
    yield f"{row['seal_wall_s']:.0f} ({row['seal_cpu_s']:.0f} of a core)"
    yield f"{row['bytes'] / row['regions']:.0f}"
    yield f"{row['bytes_while_old_versions_are_kept'] / row['regions']:.0f}"
    yield f"{row['deletes']['wall_p50_ms'][0]:.0f}"
    yield f"{row['deleted_that_came_back']} of {row['deleted']}"


def pair(times: dict[str, Any], clock: str) -> str:
    """The middle and the slowest of a hundred."""
    middle, slow = times[f"{clock}_p50_ms"][0], times[f"{clock}_p99_ms"][0]
    return f"{middle:.1f} / {slow:.1f}" if slow < 100 else f"{middle:.0f} / {slow:.0f}"


def wrapped(text: str) -> str:
    """A paragraph, within the width of the other pages."""
    return textwrap.fill(
        " ".join(text.split()), 100, break_long_words=False, break_on_hyphens=False
    )
