"""What people decided about modes, applied to what a selection has just recognised.

Clustering and matching know nothing of people: they say what the failures look like. Here modes
that are one by decision are pooled, and those that are two are divided, each time anew, so that a
decision holds for failures that come later too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from sqlalchemy.orm import Session

from curation.kernel.types import FloatArray
from curation.modes import FailureEvidence, Mode, Transform
from curation.modes.clustering import mode_of
from curation.modes.dividing import divide
from curation.modes.history import ModeTrace, signature_of
from services.context import Context
from services.db.engine import reading
from services.db.tables import Decision, DecisionKind, Model
from services.modes import decision_rows
from services.modes.recognise import Known, Recognised, read_known

_Group: TypeAlias = tuple[str, int | str]
"""What failures are put together as: ``("mode", number)`` of a known mode, ``("split", number)``
of a decision that has made no mode yet, ``("new", key)`` of a mode that is new."""
LEAST_SHARED = 0.5
"""Of the places that a mode was struck by: who has more of them is that mode."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a decision is applied to.

    Attributes:
        by_failure: evidence by failure.
        places: by failure.
        transform: the metric of the index.
        traces: of known modes, by number.
        groups: failures by what they are put together as; changed by each decision.
    """

    by_failure: Mapping[str, FailureEvidence]
    places: Mapping[str, str]
    transform: Transform
    traces: Mapping[int, ModeTrace]
    groups: dict[_Group, list[str]]


def apply(
    context: Context,
    champion: Model,
    found: Sequence[Mode],
    evidence: Sequence[FailureEvidence],
    known_as: Mapping[str, Recognised],
    encoder_version: str,
    transform: Transform,
) -> tuple[list[Mode], dict[str, Recognised]]:
    """Pool and divide modes as people said; writes nothing.

    Args:
        context: wiring.
        champion: whose failures.
        found: modes as clustered.
        evidence: that they were made of.
        known_as: what each was recognised as.
        encoder_version: of the vectors.
        transform: the metric of the index.

    Returns:
        Modes by falling size, then by key, and what each is known as.
    """
    with reading(context.sessions) as session:
        splits = decision_rows.active(session, DecisionKind.SPLIT)
        roots = decision_rows.merged_into(session)
        known_places = {row.id: _staying(session, row, roots) for row in splits}
    if not found or not (splits or roots):
        return list(found), dict(known_as)
    known = read_known(context, champion, encoder_version)
    scene = _Scene(
        by_failure={item.failure: item for item in evidence},
        places=known.places,
        transform=transform,
        traces={int(trace.key): trace for trace in known.traces},
        groups=_merged(found, known_as, roots),
    )
    for row in splits:
        _divide(scene, row, roots, known_places[row.id])
    return _rebuilt(scene, known, {row.id: row for row in splits}, found, known_as)


def struck(
    session: Session, known_as: Mapping[str, Recognised], places: Mapping[str, set[str]]
) -> frozenset[str]:
    """Keys of the modes that nothing is spent on, by decision.

    Args:
        session: to read in.
        known_as: modes of this moment by key.
        places: where their failures lie, by key.
    """
    rows = decision_rows.active(session, DecisionKind.STRIKE_MODE)
    numbers = {row.mode_id for row in rows if row.mode_id is not None}
    bare = [set(row.detail["places"]) for row in rows if row.mode_id is None]
    return frozenset(
        key
        for key, known in known_as.items()
        if known.mode_id in numbers
        or any(len(places[key] & own) > LEAST_SHARED * len(own) for own in bare)
    )


def _staying(session: Session, row: Decision, roots: Mapping[int, int]) -> set[str]:
    """Where the failures lie that were left in a mode when it was split."""
    own = {part for part, root in roots.items() if root == row.mode_id} | {row.mode_id or 0}
    return decision_rows.places_of(session, own, row.cycle_id) - set(row.detail["places"])


def _merged(
    found: Sequence[Mode], known_as: Mapping[str, Recognised], roots: Mapping[int, int]
) -> dict[_Group, list[str]]:
    groups: dict[_Group, list[str]] = defaultdict(list)
    for mode in found:
        number = known_as[mode.key].mode_id
        name: _Group = ("new", mode.key) if number is None else ("mode", roots.get(number, number))
        groups[name] += mode.members
    return groups


def _divide(
    scene: _Scene, row: Decision, roots: Mapping[int, int], staying: Collection[str]
) -> None:
    """Put the failures of a mode that was split into its parts."""
    kept = roots.get(row.mode_id or 0, row.mode_id or 0)
    made = row.detail.get("made")
    first: _Group = ("mode", kept)
    second: _Group = ("split", row.id) if made is None else ("mode", roots.get(made, made))
    if first == second:
        return
    members = [*scene.groups.get(first, ()), *scene.groups.get(second, ())]
    if not members:
        return  # nothing of it is seen: the decision says so where it is shown
    leaving = set(row.detail["places"])
    seeds = [
        {name for name in members if scene.places.get(name) in own} for own in (staying, leaving)
    ]
    references = [_reference(scene, group) for group in (first, second)]
    parts = divide([scene.by_failure[name] for name in members], seeds, scene.transform, references)
    for group, part in zip((first, second), parts, strict=True):
        scene.groups.pop(group, None)
        if part:
            scene.groups[group] = [item.failure for item in part]


def _reference(scene: _Scene, group: _Group) -> FloatArray | None:
    """[2m] what a known mode was like when it was seen last; None where nothing is kept of it."""
    trace = scene.traces.get(group[1]) if group[0] == "mode" and isinstance(group[1], int) else None
    if trace is None:
        return None
    harm, found = signature_of(trace, scene.transform)
    both: FloatArray = np.concatenate([harm, found])
    return both if both.size else None


def _rebuilt(
    scene: _Scene,
    known: Known,
    splits: Mapping[int, Decision],
    found: Sequence[Mode],
    known_as: Mapping[str, Recognised],
) -> tuple[list[Mode], dict[str, Recognised]]:
    """Modes of the groups; those that no decision has changed are as they were."""
    before = {mode.key: mode for mode in found}
    modes, named = list[Mode](), dict[str, Recognised]()
    names = known.numbers([one.name for one in known_as.values()])
    for (kind, which), members in scene.groups.items():
        mode = mode_of([scene.by_failure[name] for name in members], scene.transform)
        mode = before.get(mode.key, mode)
        trace = ModeTrace.of(mode, scene.places)
        if kind == "mode":
            same = known_as.get(mode.key)
            unchanged = same is not None and same.mode_id == which
            named[mode.key] = same if unchanged and same else known.again(int(which), trace)
        elif kind == "split":
            row = splits[int(which)]
            told = str(row.detail.get("name") or "") or names.name(
                trace.family, known.labels[trace.label]
            )
            named[mode.key] = known.new(trace, told, decision=row.id)
        else:
            named[mode.key] = known_as[str(which)]
        modes.append(mode)
    return sorted(modes, key=lambda mode: (-mode.weight, mode.key)), named
