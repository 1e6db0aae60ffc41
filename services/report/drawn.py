"""A drawn sample as people see it: what it was made of, and where its object is in each picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from curation import draw
from curation.draw import Colour
from services.db.tables import GeneratedRow, HarmRow
from services.report import pictures

MADE = {
    "surround": "a known object among what hurt",
    "insert": "a known object in a scene that resembles what hurt",
    "lookalike": "what was taken for an object, where nothing is",
    "control": "control: a known object among what does no harm",
    "control_insert": "control: a known object in a scene that does no harm",
    "control_alike": "control: what is no object, where nothing is",
}
"""What a sample shows, by its ``curation.synthesis.Staging``, which would load PyTorch here."""
ALIKE, INSERTS = ("lookalike", "control_alike"), ("insert", "control_insert")


@dataclass(frozen=True, slots=True)
class Part:
    """One of the pictures of a sample.

    Attributes:
        of: which of them.
        title: above it.
        box: px of the picture.
        colour: of the box.
        text: beside the box.
    """

    of: Literal["donor", "harm", "drawn"]
    title: str
    box: Sequence[float]
    colour: Colour
    text: str


def parts_of(row: GeneratedRow, harm: HarmRow) -> tuple[Part, Part, Part]:
    """The known object or the place, what hurt, and the one among the other."""
    is_alike, is_control = row.staging in ALIKE, row.staging.startswith("control")
    before, after = _score(row.score_before), _score(row.score_after)
    titles = ("Known object", "What hurt", "Drawn")
    colour, said = draw.TRUTH, "missed"
    if is_alike:
        titles = ("Where nothing is", "What was taken for it", "Drawn")
        colour, said = pictures.WRONG, "false"
    elif row.staging in INSERTS:
        titles = ("Known object", "Scene", "Drawn")
    if is_control:
        titles, said = (titles[0], "What does no harm", titles[2]), ""
    elif harm.vacant and not is_alike:
        said = "would be missed"
    return (
        Part("donor", titles[0], row.donor_box, colour, f"{harm.label} {before}"),
        Part("harm", titles[1], harm.box, pictures.WRONG, f"{harm.label} {said}".strip()),
        Part("drawn", titles[2], row.box or row.donor_box, colour, f"{harm.label} {after}"),
    )


def made_of(row: GeneratedRow) -> str:
    """What a sample shows, in words."""
    return MADE[row.staging]


def facts_of(told: dict[str, Any]) -> list[tuple[str, str]]:
    """Who made a sample, from what, with which seed, and why it was kept; of ``samples.told``."""
    donor, harm = told["donor"], told["harm"]
    return [
        ("State", f"{told['state']}, by {told['decided_by']}"),
        ("Why", told["reason"] or "every check passed"),
        ("Shows", MADE[told["staging"]]),
        ("Drawn for", f"{told['mode']}, cycle {told['cycle_id']}"),
        ("Drawn by", f"{told['generator']}, version {told['generator_version']}"),
        ("Seed", str(told["seed"])),
        ("Known object", f"{donor['name']} ({donor['role']})"),
        ("Pixels of", f"{harm['name']} ({harm['role']})"),
        ("Score before, after", f"{_score(told['score_before'])}, {_score(told['score_after'])}"),
        ("Model that was asked", str(told["model_id"])[:12]),
        ("Record in the file", (told["record"] or "no picture")[:12]),
        ("Processor time", f"{told['seconds']:.2f} s"),
    ]


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
