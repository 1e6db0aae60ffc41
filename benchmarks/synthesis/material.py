"""What is drawn from in a world of the loop: misses in the frames that teach, known objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from benchmarks.common.keep import kept
from benchmarks.detectors import CACHE
from benchmarks.loop import field, real, worlds
from benchmarks.loop.arms import DEALS, FIELD_FRAMES
from benchmarks.loop.evidence import shown
from benchmarks.loop.field import Dealt
from benchmarks.loop.prepare import Prepared, prepare, train_base
from benchmarks.loop.worlds import Sample, World
from curation import superpixels
from curation.failures import FailureRules
from curation.kernel.images import perceptual_hash
from curation.modes.dealing import by_hash
from curation.synthesis import (
    CheckContext,
    Donor,
    Harm,
    Missed,
    finder,
    found_rows,
    harms_of,
    pool_harms,
    texture_bounds,
)
from services.config.setting_groups import SynthesisSettings

Harms: TypeAlias = tuple[tuple[Missed, Harm], ...]
"""Misses, each with what is put around known objects for it; one may come several times."""
POOL, SHARE, FIELD = 2000, 0.0125, 200
"""Images of the pool, the share of it that holds each cause, images of the field."""
SEGMENTS = 200
TEXTURES = 60


@dataclass(frozen=True, slots=True)
class Tried:
    """Which misses of the frames that teach give what hurts.

    Attributes:
        planted: those of modes alone whose failures have a hidden cause.
        most: of a mode; None for all of them.
    """

    planted: bool
    most: int | None = None


PLANTED = Tried(planted=True)
AS_THE_SERVICE = Tried(planted=False, most=SynthesisSettings().failures_mode)


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What the arms of one seed draw from.

    Attributes:
        prepared: the world, the first detector and its failures, explained.
        dealt: its failing frames, those that teach and those that judge.
        missed: of the modes of hidden causes, in frames that teach, with what hurt there.
        donors: known objects.
        folder: for what is kept between arms.
    """

    prepared: Prepared
    dealt: Dealt
    missed: Harms
    donors: tuple[Donor, ...]
    folder: Path

    @property
    def judging(self) -> tuple[Sample, ...]:
        """What no training may see."""
        world = self.prepared.world
        return (*world.holdout, *world.siblings, *self.dealt.judges)

    def from_pool(self, lacking: bool = False) -> Harms:
        """The same in pixels of the pool; ``lacking``: of pictures that hold none of the causes."""
        world, name = self.prepared.world, f"pool-harms{'-lacking' if lacking else ''}.pickle"
        of_pool = self.prepared.samples
        barred = [name for name, sample in of_pool.items() if lacking and sample.planted]
        embedder = self.prepared.observer.embedder

        def made() -> Iterator[tuple[Missed, Harm]]:
            found = pool_harms(
                list(shown(self.missed, "misses asked of the pool")),
                self.donors,
                self.prepared.detector,
                self.prepared.index,
                embedder,
                lambda image: world.image(of_pool[image]),
                world.seed,
                barred,
            )
            for missed, harms in found:
                for harm in () if isinstance(harms, str) else harms:
                    yield missed, harm

        return kept(self.folder / name, made)


def street(seed: int, epochs: int, threads: int, num_samples: int) -> Material:
    """Of the street world as the loop has it: what that benchmark has kept is not made again."""
    size = f"e{epochs}-pool{POOL}-share{SHARE}-field{FIELD}"
    folder = CACHE / "loop" / f"street-{size}-{seed}"
    world = worlds.street(folder, "street", seed, POOL, SHARE, FIELD)
    train_base(world, folder / "base", epochs, threads)
    prepared = prepare(world, folder / "base", folder, "e2x", {"num_samples": num_samples})
    return material(prepared, folder / "synthesis", PLANTED)


def carla(data: Path, seed: int, epochs: int, threads: int, num_samples: int) -> Material:
    """Of CARLA as the loop has it, but that all frames outside the field are its holdout.

    Nobody planted anything: the misses of all modes give what hurts, of each as many as the
    service tries. Nothing is bought of the pool, so that it judges too: of the loop's holdout
    alone, one object in forty that is lost would be more than may be lost.
    """
    world = real.carla(data, seed)
    base = CACHE / "loop" / f"carla-e{epochs}-base"
    folder = CACHE / "loop" / f"carla-e{epochs}-block{real.BLOCK}-{seed}"
    train_base(world, base, epochs, threads)
    explained: dict[str, object] = {"num_samples": num_samples}
    prepared = prepare(world, base, folder, "e2x", explained, selects=False)
    observer = replace(prepared.observer, world=all_judge(world))
    wide = folder / "synthesis" / "all-judge"
    return material(replace(prepared, observer=observer), wide, AS_THE_SERVICE)


def all_judge(world: World) -> World:
    """The same with all frames for a holdout that are neither trained on nor of the field."""
    return replace(world, holdout=(*world.holdout, *world.pool, *world.siblings))


def material(prepared: Prepared, folder: Path, tried: Tried) -> Material:
    """Of a world that is ready; the transplant game of each miss is played once and kept."""
    dealt = field.deal_frames(prepared, DEALS[FIELD_FRAMES])
    donors = kept(folder / "donors.pickle", lambda: _donors(prepared))

    def hurt() -> Iterator[tuple[Missed, Harm]]:
        misses = list(shown(list(_missed(prepared, dealt, tried)), "misses blamed"))
        for missed, harm in harms_of(misses, donors, prepared.detector, prepared.world.seed):
            if isinstance(harm, Harm):
                yield missed, harm

    return Material(prepared, dealt, kept(folder / "harms.pickle", hurt), donors, folder)


def context(material: Material) -> CheckContext:
    """What samples are held against; failing frames that judge give no pixels either."""
    world = material.prepared.world
    pictures = [world.image(sample) for sample in world.train[:TEXTURES]]
    return CheckContext(
        finder(material.prepared.detector),
        {sample.name for sample in material.judging},
        [perceptual_hash(world.image(sample)) for sample in material.judging],
        texture_bounds(pictures, np.random.default_rng(world.seed)),
    )


def _donors(prepared: Prepared) -> Iterator[Donor]:
    rules, world = FailureRules(), prepared.world
    for sample in shown(world.train, "labelled images looked at"):
        image = world.image(sample)
        (seen,) = prepared.detector.predict([image], rules.score_threshold)
        for row, score in found_rows(seen, sample.truth, rules.iou_threshold):
            yield Donor(sample.name, "train", image, sample.truth, row, score)


def _missed(prepared: Prepared, dealt: Dealt, tried: Tried) -> Iterator[Missed]:
    """Of modes of missed objects; a frame gives once to each."""
    world, by_name = prepared.world, {failure.name: failure for failure in prepared.failures}
    teaching = {sample.name: sample for sample in dealt.parents}
    for mode in dealt.modes:
        cause = field.cause_of_most([by_name[name].cause for name in mode.members])
        if mode.family != "missed" or (tried.planted and cause is None):
            continue
        own = {by_name[name].sample: by_name[name] for name in reversed(mode.members)}
        frames = own.keys() & teaching.keys()
        taken = sorted(frames) if tried.most is None else by_hash(frames)[: tried.most]
        for frame in taken:
            sample, failure = teaching[frame], own[frame].failure
            image, row = world.image(sample), failure.truth_index
            yield Missed(
                mode=mode.key,
                failure=own[frame].name,
                image=frame,
                role="field",
                pixels=image,
                segments=superpixels.slic(image, prepared.detector.input_size_hw, SEGMENTS),
                box_xyxy=failure.box_xyxy,
                label=failure.label,
                truth=sample.truth if row is None else sample.truth.without(row),
            )
