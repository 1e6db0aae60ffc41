"""A choice as it is stored and shown, and the same again for the cycle that asks for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from curation import select as policies
from curation.embedding.embed import RegionEmbedder
from curation.kernel.types import Detections
from curation.modes import Mode
from curation.modes.dealing import Side
from services.context import Context
from services.db.tables import Model, PlanRow
from services.selection.choose import Chosen, Terms
from services.selection.inputs import prices_of
from services.selection.load import Inputs, load
from services.selection.parents import SHARE, deal_frames, frames_of
from services.selection.readable import unreadable

PLACES = 6
"""Digits of a similarity that are kept: more than an index tells."""


def written(chosen: Chosen, scored: int, unlooked: int) -> dict[str, Any]:
    """A choice as JSON.

    Args:
        chosen: see there.
        scored: pool images that the champion has seen.
        unlooked: of those that the policy wants to see, the ones that it has not.
    """
    images = Counter(candidate.mode for candidate in chosen.candidates)
    boxes: Counter[str | None] = Counter()
    for candidate in chosen.candidates:
        boxes[candidate.mode] += candidate.cost_boxes
    return {
        "modes": [_mode(chosen, mode, images[mode.key], boxes[mode.key]) for mode in chosen.modes],
        "candidates": [_candidate(chosen, candidate) for candidate in chosen.candidates],
        "images": len(chosen.candidates),
        "boxes": sum(boxes.values()),
        "shares": Counter(candidate.share for candidate in chosen.candidates),
        "frames_with_truth": chosen.parents.with_truth,
        "frames_judging": chosen.parents.judges,
        "scored": scored,
        "unlooked": unlooked,
        "note": chosen.note,
    }


def members_of(chosen: Chosen) -> dict[str, list[str]]:
    """Failure ids by key of the mode."""
    return {mode.key: list(mode.members) for mode in chosen.modes}


def as_planned(
    context: Context,
    champion: Model,
    embedder: RegionEmbedder,
    scores: Mapping[str, Detections],
    terms: Terms,
    plan: PlanRow,
) -> tuple[Chosen, list[str]]:
    """What a person approved, with the modes as they are recognised now.

    Failures may have come in and images been labelled since. What is asked for is the plan's, in
    its order, but for images that must not be asked for any more.

    Returns:
        The choice, and the images of the plan that are left out.
    """
    inputs = load(context, champion, embedder)
    usual = prices_of(context, champion, scores).usual
    parents = deal_frames(
        context, inputs.known, inputs.unfixed, usual, terms.budget_boxes, inputs.spent
    )
    groups = {
        frame: group
        for own in frames_of(inputs.known, inputs.modes).values()
        for frame, group in own.items()
    }
    keys = _keys_now(plan, inputs)
    kept, left = list[policies.Candidate](), list[str]()
    said, failures = dict[str, list[dict[str, Any]]](), dict[str, str]()
    for entry in plan.content["candidates"]:
        image = str(entry["image"])
        judges = (
            entry["share"] == SHARE and parents.sides.get(groups.get(image, "")) is not Side.PARENT
        )
        barred = image in inputs.spent or image in parents.barred
        if judges or barred or (image not in scores and unreadable(context, [image])):
            left.append(image)
            continue
        kept.append(_read(entry, keys))
        if entry["share"] == SHARE:
            said[image], failures[image] = entry["said"], str(entry["failure"])
    asked = [one for one in kept if one.share == SHARE]
    dealt = replace(parents, asked=asked, said=said, failures=failures)
    note = str(plan.content["note"]) or "every image of the plan is labelled or lost by now"
    return Chosen(inputs.modes, kept, inputs.known_as, dealt, "" if kept else note), left


def _keys_now(plan: PlanRow, inputs: Inputs) -> dict[str, str]:
    """The mode of now that has most of a planned mode's failures, by the planned key."""
    mode_of = {name: mode.key for mode in inputs.modes for name in mode.members}
    keys = {}
    for key, members in plan.members.items():
        shared = Counter(mode_of[name] for name in members if name in mode_of)
        if shared:
            keys[key] = min(shared, key=lambda one: (-shared[one], one))
    return keys


def _mode(chosen: Chosen, mode: Mode, images: int, boxes: int) -> dict[str, Any]:
    known = chosen.known_as[mode.key]
    return {
        "key": mode.key,
        "id": known.mode_id,
        "name": known.name,
        "family": mode.family,
        "kind": mode.kind.value,
        "label": mode.label,
        "state": known.state.value,
        "why": known.why,
        "struck": mode.key in chosen.struck,
        "failures": len(mode.members),
        "exemplars": list(mode.exemplars),
        "weights": [round(float(weight), PLACES) for weight in mode.weights],
        "images": images,
        "boxes": boxes,
    }


def _candidate(chosen: Chosen, candidate: policies.Candidate) -> dict[str, Any]:
    return {
        "image": candidate.image,
        "score": float(candidate.score),
        "mode": candidate.mode,
        "share": candidate.share,
        "cost_boxes": int(candidate.cost_boxes),
        "reason": candidate.reason,
        "matches": [
            {
                "query": int(match.query),
                "box": [float(value) for value in match.box_xyxy],
                "similarity": float(match.similarity),
            }
            for match in candidate.matches
        ],
        "failure": chosen.parents.failures.get(candidate.image),
        "said": chosen.parents.said.get(candidate.image, []),
    }


def _read(entry: Mapping[str, Any], keys: Mapping[str, str]) -> policies.Candidate:
    """A stored candidate; of a mode that nothing is left of it is nobody's."""
    matches = []
    for one in entry["matches"]:
        left, top, right, bottom = one["box"]
        box = (left, top, right, bottom)
        matches.append(policies.Match(one["query"], box, one["similarity"]))
    return policies.Candidate(
        entry["image"],
        entry["score"],
        keys.get(entry["mode"]) if entry["mode"] is not None else None,
        entry["share"],
        entry["cost_boxes"],
        tuple(matches),
        entry["reason"],
    )
