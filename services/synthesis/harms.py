"""What hurt in the failures of a scope, in pixels of the field or of the pool.

Of a false detection only frames of the field show what was taken for an object. Of a miss, the
pool may show what hurt; its scenes then take known objects as well.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sqlalchemy import select

from curation import synthesis
from curation.kernel.errors import DrawingFailed
from curation.kernel.images import hamming
from curation.kernel.types import ImageArray
from curation.synthesis import Harm, Missed, ModeHarm, Staging
from services.context import Context
from services.db.engine import reading
from services.db.tables import Annotation, Image, LabelTask, Role
from services.models.loaded import embedder_of
from services.store.region_index import has_index, open_index
from services.store.storage import open_image
from services.synthesis.material import Material
from services.synthesis.scope import Scope
from services.units.pipeline import StageContext

if TYPE_CHECKING:
    from curation.index.protocol import PoolIndex
    from retrain.detector import SsdDetector

FIELD, POOL, BOTH = "field", "pool", "pool_then_field"


@dataclass(frozen=True, slots=True)
class Harms:
    """What hurt.

    Attributes:
        modes: with their harms, as plans are made of them.
        alike: false detections with what misled the champion.
        unblamed: by failure, why nothing is drawn of it.
        sources: by mode, of how many failures pixels come from where: ``{"pool": 3, "field": 1}``.
    """

    modes: tuple[ModeHarm, ...]
    alike: tuple[tuple[Missed, Harm], ...] = ()
    unblamed: dict[str, str] = field(default_factory=dict)
    sources: dict[str, dict[str, int]] = field(default_factory=dict)


def found(
    stage: StageContext, scope: Scope, material: Material, detector: SsdDetector, seed: int
) -> Harms:
    """Ask what hurt in each failure of a scope, and whose pixels show it."""
    blamed = list(
        synthesis.harms_of(
            material.misses, material.donors, detector, seed, pictures=material.pictures
        )
    )
    unblamed = {one.failure: why for one, why in blamed if isinstance(why, str)}
    own = [(one, harm) for one, harm in blamed if isinstance(harm, Harm)]
    alike = tuple((one, harm) for one, harm in own if one.alike)
    missed = [(one, harm) for one, harm in own if not one.alike]
    wanted = stage.context.settings.synthesis.harm_from
    pooled: dict[str, tuple[Harm, ...]] = {}
    if wanted != FIELD and missed:
        for one, answer in _from_pool(stage, material, missed, detector, seed):
            if isinstance(answer, str):
                unblamed[one.failure] = answer
            else:
                pooled[one.failure] = answer
    teaching = {name for mode in scope.drawable for name in mode.teaching}
    fielded = [
        (one, harm)
        for one, harm in own
        if one.alike or (wanted != POOL and one.failure not in pooled)
    ]
    fielded = [(one, harm) for one, harm in fielded if one.failure in teaching]
    for one, _ in fielded:
        unblamed.pop(one.failure, None)
    return _sorted(scope, missed, fielded, pooled, alike, unblamed)


def _sorted(
    scope: Scope,
    missed: Sequence[tuple[Missed, Harm]],
    fielded: Sequence[tuple[Missed, Harm]],
    pooled: dict[str, tuple[Harm, ...]],
    alike: tuple[tuple[Missed, Harm], ...],
    unblamed: dict[str, str],
) -> Harms:
    """By mode and staging: pool pixels go around known objects, and scenes take known objects."""
    harms: dict[tuple[str, Staging], list[tuple[str, Harm]]] = defaultdict(list)
    sources: dict[str, Counter[str]] = defaultdict(Counter)
    for one, harm in fielded:
        harms[one.mode, one.staging].append((one.failure, harm))
        sources[one.mode]["field"] += 1
    for one, _ in missed:
        for harm in pooled.get(one.failure, ()):
            harms[one.mode, Staging.SURROUND].append((one.failure, harm))
            scene = replace(harm, vacant=True, light=False, colours=None)
            harms[one.mode, Staging.INSERT].append((one.failure, scene))
        sources[one.mode]["pool"] += one.failure in pooled
    modes = [
        ModeHarm(str(mode.id), staging, tuple(harms[str(mode.id), staging]))
        for mode in scope.drawable
        for staging in (Staging.SURROUND, Staging.INSERT, Staging.LOOKALIKE)
        if harms[str(mode.id), staging]
    ]
    counted = {mode: {key: n for key, n in counts.items() if n} for mode, counts in sources.items()}
    return Harms(tuple(modes), alike, unblamed, counted)


def _from_pool(
    stage: StageContext,
    material: Material,
    missed: Sequence[tuple[Missed, Harm]],
    detector: SsdDetector,
    seed: int,
) -> Iterator[tuple[Missed, tuple[Harm, ...] | str]]:
    context, embedder = stage.context, embedder_of(stage)
    if not has_index(context, embedder.version):
        for one, _ in missed:
            yield one, "nothing of the pool is indexed yet"
        return
    index: PoolIndex = stage.resident.get(
        f"index:{embedder.version}", lambda: open_index(context, embedder.version, embedder.width)
    )
    judges, near = material.context.evaluation_hashes, material.context.max_distance

    def opened(image_id: str) -> ImageArray:
        with reading(context.sessions) as session:
            image = session.get(Image, image_id)
        if image is None:
            raise DrawingFailed(f"image {image_id} is gone")
        own = int(image.perceptual_hash, 16)
        if any(hamming(own, other) <= near for other in judges):
            raise DrawingFailed(f"image {image_id} is a near-duplicate of one that judges")
        return open_image(context, image)

    barred = _barred(context)
    yield from synthesis.pool_harms(
        missed, material.donors, detector, index, embedder, opened, seed, barred
    )


def _barred(context: Context) -> frozenset[str]:
    """Images that give no pixels: whatever is no pool image, is labelled or out for labelling."""
    labelled = select(Annotation.image_id).union(select(LabelTask.image_id))
    with reading(context.sessions) as session:
        others = session.scalars(select(Image.id).where(Image.role != Role.POOL))
        return frozenset(others) | frozenset(session.scalars(labelled))
