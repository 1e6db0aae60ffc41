"""The generator: scene ``i`` of a split depends on the seed, the split and ``i`` alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from curation.kernel.types import Box, Truth
from services.demo.street.backdrop import Layout, draw_layout, lay_fog, paint_backdrop
from services.demo.street.clutter import bin_, photo_billboard, plant, post
from services.demo.street.config import (
    BICYCLE,
    BUS,
    CAR,
    PEDESTRIAN,
    SIGN,
    SPLITS,
    Split,
    WorldConfig,
)
from services.demo.street.people import pedestrian, sign
from services.demo.street.planting import (
    Planted,
    draw_cause,
    plant_cause,
    plant_decoys,
    plant_figure,
)
from services.demo.street.scene import (
    Scene,
    Thing,
    box_of,
    compose,
    enough_visible,
    lens,
    stand,
)
from services.demo.street.vehicles import bicycle, bus, car

_DRAW = {CAR: car, BUS: bus, BICYCLE: bicycle, PEDESTRIAN: pedestrian, SIGN: sign}
_LABEL_SHARES = {CAR: 0.24, BUS: 0.16, BICYCLE: 0.2, PEDESTRIAN: 0.22, SIGN: 0.18}
# Rows below the horizon, as shares of the image height: near enough to be seen, far enough to fit.
_DEPTHS = {
    CAR: (0.24, 0.5),
    BUS: (0.2, 0.34),
    BICYCLE: (0.3, 0.58),
    PEDESTRIAN: (0.27, 0.6),
    SIGN: (0.34, 0.6),
}
_ENLARGE = {CAR: 1.0, BUS: 1.0, BICYCLE: 1.25, PEDESTRIAN: 1.3, SIGN: 1.1}
_SIGN_HEIGHT_M = 1.6
_TRIES = 12
_MAX_OVERLAP = 0.1


def generate(config: WorldConfig, split: Split, count: int, seed: int) -> Iterator[Scene]:
    """Scenes of one split.

    The seed set and, unless configured otherwise, the holdout have no planted cause. The pool
    holds each cause in ``pool_share`` of its images. Half of the field and sibling images hold
    one cause; siblings are other scenes with the causes of the field.

    Args:
        config: size and mixture.
        split: "seed", "pool", "field", "siblings" or "holdout".
        count: how many scenes; the first ones do not depend on it.
        seed: not negative.

    Raises:
        ValueError: the split is unknown or ``seed`` is negative.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown, choose from {SPLITS}")
    for index in range(count):
        yield draw_scene(config, split, index, seed)


def draw_scene(config: WorldConfig, split: Split, index: int, seed: int) -> Scene:
    """One scene of a split: that which :func:`generate` yields at this place.

    It depends on nothing else, so that several processes may share a split out.
    """
    entropy = np.random.SeedSequence([seed, SPLITS.index(split), index])
    rng = np.random.default_rng(entropy)
    # Drawn from a stream of its own: with and without fog, a scene is the same otherwise.
    (weather,) = entropy.spawn(1)
    share = config.field_fog_share if split == "field" else config.fog_share
    foggy = np.random.default_rng(weather).random() < share
    return _scene(rng, config, split, f"{split}-{seed}-{index:06d}", foggy)


def _scene(
    rng: np.random.Generator, config: WorldConfig, split: Split, name: str, foggy: bool
) -> Scene:
    layout = draw_layout(rng, config.size_wh)
    canvas = paint_backdrop(rng, layout)
    cause = draw_cause(rng, config, config.planted_share(split))
    taken: list[Box] = []
    planted = plant_cause(rng, layout, canvas, cause, taken) if cause else Planted()
    # Without figures no number is drawn for them: the worlds that have none stay as they were.
    if not cause and config.figure_share and rng.random() < config.figures(split):
        planted = plant_figure(rng, layout, taken)
    plant_decoys(rng, config, layout, canvas, planted, taken)
    things = planted.things
    things += _objects(rng, config, layout, taken, planted.crowd)
    things += _clutter(rng, layout, taken)
    compose(canvas, things)
    planted.finish(rng, canvas)
    if foggy:
        lay_fog(layout, canvas)
    image, tags = lens(rng, canvas, layout.sky)
    tags |= {"sky": layout.sky, "ground": layout.ground, "fog": int(foggy)}
    kept = [thing for thing in things if thing.label and enough_visible(thing)]
    boxed = [(thing, box) for thing in kept if (box := _visible_box(thing)) is not None]
    masks = [planted.mask_of(thing) for thing, _ in boxed]
    return Scene(
        name=name,
        image=image,
        truth=_truth(boxed),
        attributes=tuple(thing.tags | {"height_px": box[3] - box[1]} for thing, box in boxed),
        causes=tuple(thing.cause for thing, _ in boxed),
        cause_masks=np.stack(masks) if masks else np.zeros((0, *image.shape[:2]), np.bool_),
        lookalikes=planted.lookalikes(),
        tags=tags,
    )


def _visible_box(thing: Thing) -> Box | None:
    assert thing.visible is not None, "compose() has not run"
    return box_of(thing.visible)


def _truth(boxed: list[tuple[Thing, Box]]) -> Truth:
    if not boxed:
        return Truth.empty()
    return Truth(
        np.asarray([box for _, box in boxed], np.float32),
        np.asarray([thing.label for thing, _ in boxed], np.int64),
        np.zeros(len(boxed), np.bool_),
    )


def _overlaps(box: Box, taken: list[Box]) -> bool:
    area = (box[2] - box[0]) * (box[3] - box[1])
    for other in taken:
        width = min(box[2], other[2]) - max(box[0], other[0])
        height = min(box[3], other[3]) - max(box[1], other[1])
        smaller = min(area, (other[2] - other[0]) * (other[3] - other[1]))
        if width > 0 and height > 0 and width * height > _MAX_OVERLAP * smaller:
            return True
    return False


def _room(layout: Layout, thing: Thing, taken: list[Box]) -> bool:
    x1, y1, x2, y2 = thing.box
    margin = 0.12 * (x2 - x1)
    inside = x1 > -margin and x2 < layout.width + margin and y1 > -2 and y2 <= layout.height + 2
    return inside and not _overlaps(thing.box, taken)


def _objects(
    rng: np.random.Generator, config: WorldConfig, layout: Layout, taken: list[Box], crowd: bool
) -> list[Thing]:
    """Plain objects where there is room, pedestrians in a ``crowd`` alone; ``taken`` grows."""
    wanted = int(rng.integers(config.min_objects, config.max_objects + 1))
    labels = rng.choice(list(_LABEL_SHARES), size=wanted, p=list(_LABEL_SHARES.values()))
    things: list[Thing] = []
    for label in sorted(int(value) for value in labels):
        if label == PEDESTRIAN and not crowd:
            continue
        base = layout.horizon + layout.height * rng.uniform(*_DEPTHS[label])
        base = min(base, layout.height - 1.0)
        scale = layout.px_per_m(base) * _ENLARGE[label] * rng.uniform(0.88, 1.12)
        sprite, tags = _DRAW[label](rng, scale)
        lift = _SIGN_HEIGHT_M * scale if label == SIGN else 0.0
        for _ in range(_TRIES):
            thing = stand(layout, sprite, rng.uniform(0, layout.width), base, lift)
            if _room(layout, thing, taken):
                taken.append(thing.box)
                thing.label = label
                thing.shadow = label != SIGN
                thing.tags = tags | {"distance": round((base - layout.horizon) / layout.height, 3)}
                things.append(thing)
                if label == SIGN:
                    things.append(_post_of(layout, thing, scale))
                break
    return things


def _post_of(layout: Layout, plate: Thing, scale: float) -> Thing:
    x = (plate.box[0] + plate.box[2]) / 2
    under = stand(layout, post(scale, _SIGN_HEIGHT_M + 0.2), x, plate.base)
    under.base -= 0.01  # behind its own plate
    return under


def _clutter(rng: np.random.Generator, layout: Layout, taken: list[Box]) -> list[Thing]:
    things: list[Thing] = []
    for _ in range(int(rng.integers(2, 7))):
        kind = str(rng.choice(("tree", "bush", "bin", "board"), p=(0.4, 0.25, 0.2, 0.15)))
        near = (0.08, 0.3) if kind in ("tree", "board") else (0.12, 0.6)
        base = layout.horizon + layout.height * rng.uniform(*near)
        scale = layout.px_per_m(base)
        if kind == "tree":
            sprite = plant(rng, rng.uniform(3.0, 5.5) * scale, bush=False)
        elif kind == "bush":
            sprite = plant(rng, rng.uniform(0.7, 1.4) * scale, bush=True)
        elif kind == "bin":
            sprite = bin_(rng, scale)
        else:
            sprite = photo_billboard(rng, scale)
        thing = stand(layout, sprite, rng.uniform(0, layout.width), base)
        behind = kind == "tree" and base < layout.horizon + 0.2 * layout.height
        if behind or not _overlaps(thing.box, taken):
            things.append(thing)
    return things
