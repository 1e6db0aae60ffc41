"""The page of what drawn samples reproduce: recipes by cause, and bars; from the result file."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

import bars
import drawn_repair

FILE = "synthesis.json"
RECIPES = {
    "regions": "regions that hurt, cut from values near the object",
    "regions_and_ring": "the same with the superpixels around them",
    "random": "random regions, as many and as large",
    "positive": "regions that support",
    "whole_1.5": "all of 1.5 times the box",
    "whole_2": "all of twice the box",
    "whole_1.5_light": "all of 1.5 times the box, and its light",
    "whole_2_light": "all of twice the box, and its light",
    "frame_light": "the whole frame, and its light",
    "transplant": "**what the transplant game blames, and its light**",
    "transplant_dark": "the same without the light",
    "contrast": "what the game blames beyond another frame's pixels, and its light",
    "unblamed": "what the game does not blame",
    "planted": "the planted cause itself",
    "planted_light": "the planted cause itself, and its light",
}
INTRODUCTION = """
A known object, one that the detector finds, is put into what surrounds an object that it missed. Is
it missed there? A share of known objects is missed then, or loses 0.3 of its score; beside it in
brackets, the same where the same mask is filled from *another frame*, in the light of another known
object, and *harmless*, from around a found object of the class. What a recipe says about the cause
is the difference. The *transplant game* asks it of every group of superpixels that look alike:
coalitions of them are moved around some known objects, the recipe is judged by others. Means over
pairs of a miss and a known object, with 95 % intervals over failing frames.
"""


def page() -> str:
    """The page as Markdown."""
    document = json.loads((bars.RESULTS / FILE).read_text())
    part = document["parts"]["reproduction"]
    causes = [key for key in part["table"][0] if key not in ("recipe", "pairs", "share_of_frame")]
    lines = {line["recipe"]: line for line in part["table"]}
    seeds = ", ".join(map(str, part["seeds"]))
    told = [
        "<!-- Written by docs/generated.py from benchmarks/results: measure, do not edit. -->",
        "",
        "# What drawn samples reproduce",
        "",
        textwrap.fill(INTRODUCTION.strip(), 100),
        "",
        f"| put around a known object | share of the frame | {' | '.join(map(_cause, causes))} |",
        "|---" * (2 + len(causes)) + "|",
        *(row(words, lines[name], causes) for name, words in RECIPES.items() if name in lines),
        "",
        *bars.table(
            document,
            bars.SYNTHESIS,
            [name for name in document["bars"] if not name.endswith(bars.CARLA)],
        ),
        "",
        textwrap.fill(
            f"{part['misses']} misses in {part['frames']} frames of seeds {seeds}; the recipe was "
            f"chosen on another seed. PyTorch {part['versions']['torch']}; `{part['command']}`.",
            100,
        ),
        *on_real_pictures(document),
        *drawn_repair.section(document),
        *drawn_repair.on_real_pictures(document),
    ]
    return "\n".join(told) + "\n"


def on_real_pictures(document: dict[str, Any]) -> list[str]:
    """The same on CARLA's towns; nothing where it was not measured."""
    part = document["parts"].get("reproduction_carla")
    if part is None:
        return []
    lines = {line["recipe"]: line for line in part["table"]}
    causes = [key for key in part["table"][0] if key not in ("recipe", "pairs", "share_of_frame")]
    seeds = ", ".join(map(str, part["seeds"]))
    words = (
        "Objects of CARLA's towns 03 to 05 that a detector of towns 01 and 02 misses, by class; "
        "nobody planted a cause, and why a vehicle is missed may be its own looks: what surrounds "
        "it then makes no other object fail, whatever is blamed. The classes take turns; one of "
        "which the detector finds fewer than six objects has none to try it on and is left out."
    )
    told = f"{part['misses']} misses in {part['frames']} frames, seeds {seeds}; "
    told += f"PyTorch {part['versions']['torch']}; `{part['command']}`."
    return [
        "",
        "## The same in towns that the detector does not know",
        "",
        textwrap.fill(words, 100),
        "",
        f"| put around a known object | share of the frame | {' | '.join(map(_cause, causes))} |",
        "|---" * (2 + len(causes)) + "|",
        *(row(words, lines[name], causes) for name, words in RECIPES.items() if name in lines),
        "",
        *bars.table(
            document,
            bars.SYNTHESIS,
            [
                name
                for name in document["bars"]
                if name.endswith(bars.CARLA) and name.startswith(("G2", "G4_above"))
            ],
        ),
        "",
        *(line for sentence in sentences(lines) for line in (textwrap.fill(sentence, 100), "")),
        textwrap.fill(told, 100),
    ]


def sentences(lines: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What the recipes say where nobody planted a cause; of pairs of a miss and a known object."""
    blamed, frame, contrast = (
        lines[name]["all"] for name in ("transplant", "frame_light", "contrast")
    )
    often = "more often" if blamed["minus_foreign"][1] > 0 else "no more often"
    yield (
        f"What is blamed makes known objects fail {often} than the same mask with another frame's "
        f"pixels: {_apart(blamed, 'foreign')}."
    )
    if frame["minus_foreign"][1] <= 0 <= frame["minus_foreign"][2]:
        by_class = {
            name: cells
            for name, cells in lines["frame_light"].items()
            if isinstance(cells, dict) and name != "all" and cells["minus_foreign"][1] > 0
        }
        but = "".join(
            f" Only of one class, {_cause(name)}, it does: {_apart(cells, 'foreign')}."
            for name, cells in by_class.items()
        )
        yield (
            f"Nor does all of the failing frame with its light: {_apart(frame, 'foreign')}. So for "
            "most of them it is not what surrounds them that makes the detector miss them, and no "
            f"part of it could be blamed.{but}"
        )
    yield (
        "What was tried beside it: the parts that hurt more than another frame's pixels do, "
        f"{_apart(contrast, 'foreign')} above these."
    )
    yield (
        "Above harmless surroundings, which is what the service asks of a mode before it keeps "
        f"samples, what is blamed is {_apart(blamed, 'harmless')}: there it says that a sample is "
        "hard, and not that it is hard for the reason of the miss."
    )


def _apart(cells: dict[str, Any], control: str) -> str:
    value, low, high = cells[f"minus_{control}"]
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def row(words: str, line: dict[str, Any], causes: list[str]) -> str:
    """One recipe as a line of the table."""
    cells = [cell(line[cause], interval=cause == "all") for cause in causes]
    return f"| {words} | {line['share_of_frame']:.1%} | {' | '.join(cells)} |"


def cell(found: dict[str, Any], interval: bool) -> str:
    """Share, its interval where asked for, and the controls."""
    value, low, high = found["own"]
    if value is None:
        return ""
    told = f"{value:.2f}" + (f" [{low:.2f}, {high:.2f}]" if interval else "")
    controls = [
        f"{name} {found[key][0]:.2f}"
        for key, name in (("foreign", "another frame"), ("harmless", "harmless"))
        if key in found and found[key][0] is not None
    ]
    return told + (f" ({', '.join(controls)})" if controls else "")


def _cause(name: str) -> str:
    return name.replace("_", " ")
