"""What samples would be drawn from, by rows alone: modes, failures that teach, known objects."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation.kernel.manifest import Manifest, ManifestItem
from curation.modes.dealing import by_hash
from curation.modes.states import ModeState
from services.config.settings import Settings
from services.context import Context
from services.db import sides
from services.db.engine import reading
from services.db.parts import in_parts
from services.db.tables import (
    EVALUATION_ROLES,
    TAKEN_BACK,
    CandidateRow,
    Cycle,
    DatasetVersion,
    FailureRow,
    GeneratedRow,
    Image,
    Model,
    ModeMember,
    ModeRow,
    ModeSighting,
    Role,
    SampleState,
)
from services.models import datasets, registry

FALSE = "false"
"""Family of the modes for which look-alikes are drawn: what was taken for an object is put where
nothing is. For all others, objects that were missed, found as another class or found badly, what
hurt is put around a known object."""
MOST_DONORS = 200
"""Pictures with known objects that the champion looks at: seconds, not minutes."""


@dataclass(frozen=True, slots=True)
class ScopeMode:
    """A failure mode with what it gives.

    Attributes:
        id: of the mode.
        name: what people call it.
        label: class that is missed.
        failures: with their frames, those that are tried: in frames that teach where the frame
            itself gives pixels.
        seen: failures of the mode in all.
        why: why nothing can be drawn for it; "" where it can.
    """

    id: int
    name: str
    label: str
    failures: tuple[tuple[FailureRow, Image], ...]
    seen: int
    why: str = ""
    alike: bool = False
    """Whether it is of false detections."""
    teaching: frozenset[str] = frozenset()
    """Those of the failures whose frames may give pixels."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be drawn for a cycle.

    Attributes:
        cycle: whose modes.
        champion: whose failures.
        modes: that are not fixed, the largest first.
        donors: labelled images that the champion was trained on and that may hold known objects,
            or places at which nothing stands; the former come first.
        budget: samples that may be kept, controls included.
        controls: of these.
        share: drawn among the training images now, in 0..1.
        why: why nothing can be drawn at all; "" where something can.
    """

    cycle: Cycle
    champion: Model
    modes: tuple[ScopeMode, ...] = ()
    donors: tuple[ManifestItem, ...] = ()
    budget: int = 0
    controls: int = 0
    share: float = 0.0
    why: str = ""
    roles: dict[str, str] = field(default_factory=dict)
    """Of the donors, by image."""

    @property
    def drawable(self) -> tuple[ScopeMode, ...]:
        """Modes that something can be drawn for."""
        return tuple(mode for mode in self.modes if not mode.why)


def read_scope(context: Context, cycle_id: int) -> Scope:
    """What may be drawn for a cycle; writes nothing and opens no picture."""
    settings = context.settings
    with reading(context.sessions) as session:
        cycle = session.get_one(Cycle, cycle_id)
        champion = session.get_one(Model, cycle.champion_id)
        in_use = registry.champion(session)
        modes = _modes(session, settings, cycle_id)
    manifest = taught_with(context, champion)
    if in_use is None or in_use.id != champion.id:
        why = "another model has become the champion since: it misses other things"
        return Scope(cycle, champion, tuple(modes), why=why)
    labels = {mode.label for mode in modes if not mode.why and not mode.alike}
    places = any(mode.alike and not mode.why for mode in modes)
    usable = [item for item in _shuffled(manifest, cycle.seed) if not item.generated]
    wanted = sorted(
        (item for item in usable if places or _holds(item, labels)),
        key=lambda item: not _holds(item, labels),
    )
    with reading(context.sessions) as session:
        roles = may_give(session, wanted)
        if settings.synthesis.harm_from == "pool":  # nothing of the field, known objects neither
            roles = {image: role for image, role in roles.items() if role != Role.FIELD}
        drawn = _kept_before(session)
    donors = tuple(item for item in wanted if item.image in roles)[:MOST_DONORS]
    real = sum(not item.generated for item in manifest.items)
    share = drawn / max(1, drawn + real)
    left = int(settings.synthesis.max_share / (1 - settings.synthesis.max_share) * real) - drawn
    budget = max(0, min(settings.synthesis.budget_images, left))
    why = _why(settings, modes, donors, budget, share)
    controls = round(budget * settings.synthesis.controls)
    return Scope(cycle, champion, tuple(modes), donors, budget, controls, share, why, roles)


def taught_with(context: Context, model: Model) -> Manifest:
    """What a model was trained on; of one that came from elsewhere the labelled start set."""
    with reading(context.sessions) as session:
        version = model.dataset_version_id
        row = None if version is None else session.get_one(DatasetVersion, version)
        if row is None:
            return datasets.labelled_set(session, Role.SEED)
    return datasets.read_version(context, row)


def _modes(session: Session, settings: Settings, cycle_id: int) -> list[ScopeMode]:
    query = (
        select(ModeRow, FailureRow, Image, sides.is_parent())
        .join(ModeSighting, ModeSighting.mode_id == ModeRow.id)
        .join(ModeMember, ModeMember.sighting_id == ModeSighting.id)
        .join(FailureRow, FailureRow.id == ModeMember.failure_id)
        .join(Image, Image.id == FailureRow.image_id)
        .where(
            ModeSighting.cycle_id == cycle_id,
            ModeRow.state != ModeState.FIXED,
            FailureRow.state.not_in(TAKEN_BACK),
        )
        .order_by(ModeRow.id, FailureRow.id)
    )
    rows: dict[int, ModeRow] = {}
    seen: dict[int, int] = defaultdict(int)
    asking: dict[int, dict[str, tuple[FailureRow, Image]]] = defaultdict(dict)
    teaching = set[str]()
    harm_from = settings.synthesis.harm_from
    for mode, failure, image, is_parent in session.execute(query):
        rows[mode.id] = mode
        seen[mode.id] += 1
        teaches = is_parent and image.role == Role.FIELD
        if teaches:
            teaching.add(image.id)
        # A frame that gives no pixels may ask for those of the pool and judge all the same.
        if teaches or (harm_from != "field" and mode.family != FALSE and image.role == Role.FIELD):
            asking[mode.id].setdefault(image.id, (failure, image))  # a frame asks once
    found = _found_in_pool(session, cycle_id)
    return [
        _mode(row, asking[number], seen[number], settings, teaching, found[number])
        for number, row in sorted(rows.items(), key=lambda one: (-seen[one[0]], one[0]))
    ]


def _found_in_pool(session: Session, cycle_id: int) -> Counter[int]:
    """How many pool images the selection of a cycle asked for on account of each mode."""
    query = (
        select(CandidateRow.mode_id, func.count())
        .where(CandidateRow.cycle_id == cycle_id, CandidateRow.mode_id.is_not(None))
        .group_by(CandidateRow.mode_id)
    )
    return Counter({int(mode): count for mode, count in session.execute(query)})


def _mode(
    row: ModeRow,
    asking: dict[str, tuple[FailureRow, Image]],
    seen: int,
    settings: Settings,
    teaching: set[str],
    found: int,
) -> ScopeMode:
    wanted, alike = settings.synthesis, row.family == FALSE
    taken = tuple(asking[frame] for frame in by_hash(set(asking))[: wanted.failures_mode])
    why = ""
    if alike and wanted.harm_from == "pool":
        why = (
            "what was taken for an object is in frames of the field only, whose pixels are not "
            "wanted (`synthesis.harm_from`)"
        )
    elif wanted.modes == "lacking" and found:
        why = f"the pool is not lacking it: {found} images were asked for (`synthesis.modes`)"
    elif seen < wanted.least_failures:
        why = f"only {seen} failures (`synthesis.least_failures`)"
    elif not taken:
        why = (
            "none of its frames teaches: those that judge give no pixels "
            "(`selection.learn_from_field`)"
        )
    gives = frozenset(failure.id for failure, image in taken if image.id in teaching)
    return ScopeMode(row.id, row.name, row.label, taken, seen, why, alike, gives)


def _shuffled(manifest: Manifest, seed: int) -> list[ManifestItem]:
    items = sorted(manifest.items, key=lambda item: item.image)
    order = np.random.default_rng(seed).permutation(len(items))
    return [items[row] for row in order]


def _holds(item: ManifestItem, labels: set[str]) -> bool:
    counted = zip(item.labels, item.ignore, strict=True)
    return any(label in labels and not ignored for label, ignored in counted)


def may_give(session: Session, items: Sequence[ManifestItem]) -> dict[str, str]:
    """Roles of those images that may give pixels: none that evaluates, judges or was drawn."""
    ids, found = [item.image for item in items], dict[str, str]()
    kept = sides.kept_for_judges(session, {}).images
    for part in in_parts(ids):
        query = select(Image.id, Image.role).where(
            Image.id.in_(part), Image.role.not_in((*EVALUATION_ROLES, Role.GENERATED))
        )
        frames = (Image.role != Role.FIELD) | sides.is_parent()
        found.update({image: str(role) for image, role in session.execute(query.where(frames))})
    return {image: role for image, role in found.items() if image not in kept}


def _kept_before(session: Session) -> int:
    taken = (SampleState.KEPT, SampleState.DRAWN)
    return session.scalar(select(func.count()).where(GeneratedRow.state.in_(taken))) or 0


def _why(
    settings: Settings,
    modes: Sequence[ScopeMode],
    donors: Sequence[ManifestItem],
    budget: int,
    share: float,
) -> str:
    if not modes:
        return "the cycle has seen no failure mode that is not fixed"
    if all(mode.why for mode in modes):
        return modes[0].why
    if not donors:
        return "no labelled image that the champion was trained on holds an object of these classes"
    if not budget:
        most = settings.synthesis.max_share
        return (
            f"{share:.0%} of the training images are drawn, at most {most:.0%} may be "
            "(`synthesis.max_share`), or `synthesis.budget_images` is 0"
        )
    return ""
