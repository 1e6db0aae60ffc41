"""The page of the failing frames that teach: table, bars, what they say; from the result file."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import bars

FILE = "loop-street.json"
COLUMNS = {
    "slice_ap50": "slice AP50",
    "siblings_fixed": "siblings fixed",
    "judges_fixed": "places fixed, judges",
    "parents_fixed": "places fixed, parents",
    "map50": "holdout AP50",
    "negative_flips": "negative flips",
    "images": "images labelled",
    "useful_images": "of these useful",
}
WAYS = {
    "field_frames_quarter": "If a quarter of a mode's frames teach",
    "field_frames_three_quarters": "If three quarters of a mode's frames teach",
    "field_frames_lone_judges": "If the only frame of a mode judges",
}
ON_TOP = ("e2x", "random", "oracle", "whole_image", "talisman")
"""Policies that may spend a budget on top of the frames."""
DIGITS = {"siblings_fixed": 1, "map50": 3, "negative_flips": 3, "images": 0, "useful_images": 0}
NAMES = ("F1", "F1_at_all", "F2", "F2_at_all", "F3", "F5")


def page() -> str:
    """The page as Markdown."""
    document = json.loads((bars.RESULTS / FILE).read_text())
    part = document["parts"]["field"]
    own = {name: document["bars"][name] for name in NAMES}
    seeds = ", ".join(map(str, part["seeds"]))
    lines = [
        "<!-- Written by docs/generated.py from benchmarks/results: measure, do not edit. -->",
        "",
        "# What the failing frames teach",
        "",
        wrapped(INTRODUCTION),
        "",
        *table(part["table"]),
        "",
        "| bar | goal | measured | |",
        "|---|---|---|---|",
        *(bars.row(bars.LOOP[name], said) for name, said in own.items()),
        "",
        *findings(part["table"], own),
        *choices(part),
        "",
        wrapped(f"Seeds {seeds}; PyTorch {part['versions']['torch']}; `{part['command']}`."),
    ]
    return "\n".join(lines) + "\n"


INTRODUCTION = """
A frame that failed holds the cause for certain, and where its truth is known it costs no label.
`field_frames` trains on half of the failing frames of each mode, dealt by the service's own rule at
its default share, and asks for nothing; `field_frames_e2x` and the others spend a budget on pool
images on top, without the like of a frame that teaches. The other frames judge. *Slice AP50* and
*siblings fixed* are of frames that nobody may train on; *places fixed* are the failures of the
first detector, in frames that judge and in frames that taught, that the new one no longer makes, of
all modes. Arms without frames are of the first round: the same seeds, budgets and first detectors.
Means with 95 % bootstrap intervals over seeds; of differences of AP over seeds and the images of
each.
"""


def table(rows: list[dict[str, Any]]) -> list[str]:
    """One row an arm and budget, the best of a budget first."""
    lines = [
        f"| arm | boxes | seeds | {' | '.join(COLUMNS.values())} |",
        "|---" * (3 + len(COLUMNS)) + "|",
    ]
    for row in rows:
        cells = [cell(row[key], DIGITS.get(key, 2)) for key in COLUMNS]
        lines.append(f"| `{row['arm']}` | {row['budget']} | {row['seeds']} | {' | '.join(cells)} |")
    return lines


def cell(value: list[float] | None, digits: int) -> str:
    """Mean and interval; nothing where nothing was measured."""
    if value is None:
        return ""
    mean, low, high = (f"{one:.{digits}f}" for one in value)
    return f"{mean} [{low}, {high}]" if low != high else mean


def findings(rows: list[dict[str, Any]], own: dict[str, dict[str, Any]]) -> list[str]:
    """What the figures say, whichever way they fall."""
    alone = next(row for row in rows if row["arm"] == "field_frames")
    budget, agreed = own["F1"]["budget"], own["F5"]
    at_last = [row for row in rows if row["budget"] == budget]
    best = max(at_last, key=lambda row: float(row["slice_ap50"][0]))
    added = (
        f"The frames alone, no label bought, have {cell(alone['slice_ap50'], 2)} slice AP. With "
        f"{budget} boxes of E2X on top it is {points(own['F2'])} from them and "
        f"{points(own['F1'])} from as many boxes of random choice on top. First with {budget} "
        f"boxes is `{best['arm']}` with {cell(best['slice_ap50'], 2)}."
    )
    judging = (
        f"By the rule of the service, judges and siblings say the same of {agreed['value']:.2f} "
        f"of {agreed['modes']} modes, those with a planted cause under all arms. Judges call "
        f"{agreed['fixed_by_judges']:.2f} of them fixed, siblings "
        f"{agreed['fixed_by_siblings']:.2f}: where hardly any is fixed, to agree is no art. Two "
        "random samples as large as theirs, of places that fail at one and the same rate, would "
        f"agree in {agreed['of_one_rate']:.2f}"
    )
    beyond = agreed["of_one_rate"] < agreed["bar"]
    judging += f": {agreed['bar']:g} takes more frames than these modes have." if beyond else "."
    mended = (
        f"In these modes {agreed['mended_parents']:.2f} of the places in frames that taught are "
        f"mended, {agreed['mended_judges']:.2f} in frames that judge and "
        f"{agreed['mended_siblings']:.2f} of the siblings' places. Over all modes the frames alone "
        f"mend {cell(alone['parents_fixed'], 2)} where they taught and "
        f"{cell(alone['judges_fixed'], 2)} where they judge: most modes have no planted cause."
    )
    needed = (
        "Boxes needed count from none on, which is the frames alone: 0 says that these reach "
        "frames and random by themselves, and that no larger budget of E2X falls below."
    )
    if own["F3"]["oracle"]:
        needed += (
            " The oracle, which buys by the planted cause itself, needs "
            f"{cell(own['F3']['oracle'], 2)}: the frames leave a choice little to add here."
        )
    told = [added, needed, judging, mended]
    measured = {row["arm"] for row in rows}
    lacking = [f"`field_frames_{one}`" for one in ON_TOP if f"field_frames_{one}" not in measured]
    if lacking:
        told.append(f"Not measured yet: {', '.join(lacking)}.")
    return [wrapped(f"- {one}", "  ") for one in told]


def choices(part: dict[str, Any]) -> list[str]:
    """What other ways of dealing the frames, and of counting them, give."""
    told = [
        f"{WAYS[arm]} (`{arm}`) the frames alone are {points(said['slice_ap_above_default'])} of "
        f"slice AP from the default, and judges and siblings say the same of {said['value']:.2f} "
        f"[{said['low']:.2f}, {said['high']:.2f}] of {said['modes']} modes."
        for arm, said in part["deals"].items()
        if said["slice_ap_above_default"]
    ]
    default = part["deals"]["field_frames"]
    told.insert(
        0,
        "By the default, where half of the frames teach and a lone one does, these say the same of "
        f"{default['value']:.2f} [{default['low']:.2f}, {default['high']:.2f}] of "
        f"{default['modes']} modes.",
    )
    if part["e2x"]:
        rivals = (f"{points(said)} above `{arm}`" for arm, said in part["e2x"].items())
        told.append(f"All budgets together, `field_frames_e2x` is {', '.join(rivals)}.")
    for said in part["counted"].values():
        told.append(
            "Boxes of frames that teach, counted off what their mode is due "
            f"(`field_frames_e2x_counted`), give {points(said)} above `field_frames_e2x` "
            f"({said['seeds']} seeds, both budgets)."
        )
    return [wrapped(f"- {one}", "  ") for one in told]


def wrapped(text: str, indent: str = "") -> str:
    """Prose in lines of 100 characters."""
    return textwrap.fill(
        " ".join(text.split()),
        100,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def points(said: dict[str, Any]) -> str:
    """A difference with its interval."""
    return "{value:+.1f} points [{low:+.1f}, {high:+.1f}]".format(**said)
