"""Arms of drawn samples: what is put around known objects, and what is trained on in the end."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.loop import real
from benchmarks.loop.evidence import FieldFailure, Observer
from benchmarks.loop.field import Dealt
from benchmarks.loop.prepare import Prepared
from benchmarks.loop.tested import detections, scored
from benchmarks.loop.worlds import Sample, World
from benchmarks.synthesis import arms, leaks, prepare, training
from benchmarks.synthesis.material import (
    AS_THE_SERVICE,
    PLANTED,
    Material,
    Tried,
    _missed,
    all_judge,
    context,
)
from benchmarks.synthesis.recipes import dealt
from curation import superpixels
from curation.kernel.images import content_hash, encode_png
from curation.kernel.types import Failure, FailureKind, ImageArray, Truth
from curation.modes import Mode
from curation.select import PoolImage
from curation.synthesis import Donor, Harm, Missed
from curation.synthesis.geometry import window
from retrain.config import DetectorConfig
from retrain.detector import SsdDetector
from services.config.setting_groups import SynthesisSettings
from tests.curation.synthesis_pictures import CAR, SIZE_HW, Toy, donor, harm, harmless

CLASSES = ("background", "car")
CAUSE = "guilt"
COUNT = 8


def sample(
    root: Path, name: str, image: ImageArray, truth: Truth, cause: str | None = None
) -> Sample:
    data = encode_png(image)
    (root / f"{name}.png").write_bytes(data)
    size_wh = (image.shape[1], image.shape[0])
    planted = frozenset({cause} if cause else ())
    causes = (cause,) * len(truth)
    return Sample(name, f"{name}.png", content_hash(data), size_wh, truth, causes, planted)


def miss(one: Harm) -> Missed:
    segments = superpixels.grid(SIZE_HW, 48)
    where = one.pixels, segments, one.box_xyxy, CAR, one.truth
    return Missed("m", f"{one.image}#0", one.image, "field", *where)


@pytest.fixture
def material(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Material:
    monkeypatch.setattr(arms, "COUNT", COUNT)
    donors = [donor(seed) for seed in range(24)]
    train = [sample(tmp_path, d.image, d.pixels, d.truth) for d in donors]
    judges = [donor(900 + seed) for seed in range(6)]
    judging = [sample(tmp_path, d.image, d.pixels, d.truth) for d in judges]
    found, frames = [], []
    for number in range(6):
        one = harm(number, light=True)
        truth = Truth(np.array([one.box_xyxy], np.float32), np.array([CAR]), np.zeros(1, np.bool_))
        frames.append(sample(tmp_path, one.image, one.pixels, truth, CAUSE))
        found.append((miss(one), one))
    config = DetectorConfig("ssdlite_efficientnet_lite0", CLASSES, SIZE_HW, 0.15, 0.8)
    splits = tuple(train), tuple(frames), tuple(train[:4]), tuple(judging[:2]), tuple(judging[2:4])
    world = World("toy", 0, tmp_path, CLASSES, config, {CAUSE: CAR}, *splits)
    return Material(
        prepared(world), Dealt(tuple(frames), tuple(judging[4:]), ()), tuple(found),
        tuple(donors), tmp_path / "kept",
    )  # fmt: skip


def prepared(world: World) -> Prepared:
    """With a pool of four, one of which holds a cause; arms ask for nothing else."""
    samples = {one.name: one for one in world.pool}
    first = next(iter(samples))
    samples[first] = replace(samples[first], planted=frozenset({CAUSE}))
    pool = tuple(PoolImage(name, 1.0, 0, None, None, None) for name in samples)
    unused: Any = None
    observer = Observer(world, Toy(), unused)
    return Prepared(
        observer, unused, world.root, (), pool, samples, unused, (), unused, unused, unused
    )


def test_what_hurt_is_drawn_as_the_service_keeps_it(
    material: Material, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made, share = arms.drawn(arms.BLAMED, material)
    again, _ = arms.drawn(arms.BLAMED, material)
    assert share == 1.0
    assert [name for name, _, _ in made] == [name for name, _, _ in again]
    controls = round(COUNT * arms.CONTROLS)
    missed = [not len(Toy().predict([image], 0.5)[0]) for _, image, _ in made]
    assert sum(missed) == COUNT - controls
    assert COUNT - controls < len(made) <= COUNT  # of controls that are alike one is kept
    samples = list(arms.stored(made, material.prepared.world, material.prepared.world.root / "d"))
    world = material.prepared.world
    assert len(world.manifest([*world.train, *samples]).items) == 24 + len(made)
    apart = tmp_path_factory.mktemp("elsewhere")  # as where the world's own folder is read-only
    for written in (samples, list(arms.stored(made, world, apart))):
        for one, (_, image, _) in zip(written, made, strict=True):
            assert np.array_equal(world.image(one), image)


def test_rivals_are_as_many_whether_they_reproduce_or_not(material: Material) -> None:
    made, share = arms.drawn("elsewhere", material)
    assert share is not None
    assert share < 0.5  # another frame's pixels hold no guilt
    missed = [not len(Toy().predict([image], 0.5)[0]) for _, image, _ in made]
    assert len(made) > COUNT / 2 > sum(missed)


def test_what_harms_nobody_is_not_drawn_as_what_was_blamed(material: Material) -> None:
    plain = tuple((missed, harmless(n)) for n, (missed, _) in enumerate(material.missed))
    made, share = arms.drawn(arms.BLAMED, replace(material, missed=plain))
    assert share == 0.0
    assert made == []


def test_other_parts_of_the_frame_lie_where_they_should(material: Material) -> None:
    by_name = {name: arms.SURROUNDINGS[name](material) for name in ("whole", "unblamed", "random")}
    for row, (missed, own) in enumerate(material.missed):
        other = {name: harms[row][1] for name, harms in by_name.items()}
        assert not (other["unblamed"].mask & own.mask).any()
        assert np.array_equal(other["whole"].mask, window(own.box_xyxy, 2.0, SIZE_HW))
        segments, players, _ = arms._players(missed)
        inside = np.isin(segments, players)
        assert not (other["random"].mask & ~inside).any()
        assert other["random"].mask.sum() >= min(own.mask.sum(), inside.sum())
        assert all(one.light for one in other.values())


def test_another_place_has_the_shape_and_the_labels_of_its_frame(material: Material) -> None:
    labelled = {one.name: one for one in material.prepared.world.train}
    for (_, own), (_, other) in zip(material.missed, arms.elsewhere(material), strict=True):
        assert other.role == "train"
        assert other.truth is labelled[other.image].truth
        assert np.array_equal(other.pixels, material.prepared.world.image(labelled[other.image]))
        assert other.mask.sum() >= 0.6 * own.mask.sum()
        assert other.colours is not None


def test_pasted_objects_are_labelled_and_what_they_hide_is_not(material: Material) -> None:
    made, share = arms.drawn(arms.PASTED, material)
    assert (len(made), share) == (COUNT, None)
    for _, image, truth in made:
        assert image.shape == (*SIZE_HW, 3)
        assert truth.labels[0] == CAR
        x1, y1, x2, y2 = truth.boxes_xyxy[0]
        assert min(x1, y1) >= 0
        assert x2 <= SIZE_HW[1]
        assert y2 <= SIZE_HW[0]
    first, second = (arms.drawn(arms.PASTED, material)[0] for _ in range(2))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, second, strict=True))


def test_nothing_that_judges_gives_pixels(material: Material) -> None:
    barred = context(material).barred
    world = material.prepared.world
    judging = (*world.siblings, *world.holdout, *material.dealt.judges)
    assert {one.name for one in judging} <= set(barred)
    judge = judging[-1].name
    bad = tuple((missed, replace(own, image=judge)) for missed, own in material.missed)
    made, _ = arms.drawn(arms.BLAMED, replace(material, missed=bad))
    assert all(len(Toy().predict([image], 0.5)[0]) for _, image, _ in made)  # controls alone


def test_a_picture_that_judges_and_gives_pixels_is_a_leak(material: Material) -> None:
    assert {name: one["met"] for name, one in leaks.reached([material], [arms.BLAMED]).items()} == {
        "G10_parents": True,
        "G10_near": True,
    }
    world = material.prepared.world
    shown = world.image(world.holdout[0])
    judge = replace(material.missed[0][1], image=world.holdout[0].name)
    leaking = replace(material, missed=((material.missed[0][0], judge),))
    truth = world.holdout[0].truth
    kept_file = material.folder / f"drawn-{arms.BLAMED}.pickle"
    kept_file.write_bytes(pickle.dumps((([("copy", shown, truth)], 1.0),)))
    found = leaks.reached([leaking], [arms.BLAMED])
    assert (found["G10_parents"]["value"], found["G10_near"]["value"]) == (1, 1)


def test_a_pool_that_lacks_the_causes_offers_none(material: Material) -> None:
    held = training.seen_by_selection(arms.Arm("x", boxes=5), material)
    lacking = training.seen_by_selection(arms.Arm("x", boxes=5, lacking=True), material)
    assert (len(held.pool), len(lacking.pool)) == (4, 3)
    assert not any(one.planted for one in lacking.samples.values())
    both = len(material.dealt.parents) + len(material.dealt.judges)
    assert len(held.excluded_hashes) == both  # near-duplicates of failing frames are not asked for


def test_known_objects_are_those_that_are_found(material: Material) -> None:
    world = material.prepared.world
    known = list(prepare.found_objects(Toy(), world, world.train))
    assert len(known) == 24
    assert all(one.score >= 0.5 for one in known)
    assert isinstance(material.donors[0], Donor)


def test_causes_take_turns() -> None:
    class Named:
        def __init__(self, cause: str, name: str) -> None:
            self.cause, self.name = cause, name

    turns = dealt([Named("b", "1"), Named("b", "2"), Named("a", "3")])
    assert [one.name for one in turns] == ["3", "1", "2"]


def test_the_holdout_tells_what_is_lost_by_what_is_drawn_together(material: Material) -> None:
    """A detector that finds nothing loses all; of two frames of one drive it is counted once."""
    world = material.prepared.world
    drive = {one.name: "drive" for one in world.holdout}
    world = replace(world, groups=drive)
    seen = detections(Toy(), world, world.holdout)
    blind = seen[0], [one.above(1.0) for one in seen[1]]
    siblings = detections(Toy(), world, world.siblings)
    before, after = (scored("x", world, test, siblings) for test in (seen, blind))
    found = training.by_group(world, (before, after), (seen, blind))
    assert found == [["drive", len(world.holdout), len(world.holdout), 0, 0]]
    unlabelled = replace(world.holdout[0], truth=world.holdout[0].truth.without(0))
    elsewhere = replace(world, holdout=(unlabelled, *world.holdout[1:]), groups={})
    more = elsewhere.holdout, seen[1]
    score = scored("x", elsewhere, more, siblings)
    rows = training.by_group(elsewhere, (score, score), (more, more))
    false = {name: (one, other) for name, _, _, one, other in rows}
    assert false == {one.name: (int(one is unlabelled),) * 2 for one in elsewhere.holdout}


def test_the_street_is_asked_by_hidden_cause_and_real_towns_as_the_service_asks(
    material: Material,
) -> None:
    frames = material.dealt.parents
    failures = [
        FieldFailure(f"{one.name}#0", one.name, cause, missed_at(one), {})
        for cause, own in ((CAUSE, frames[:3]), (None, frames[3:]))
        for one in own
    ]
    modes = [
        mode(name, [one.name for one in failures[part]])
        for name, part in (("planted", slice(3)), ("unknown", slice(3, None)))
    ]
    world = material.prepared.world
    unused: Any = None
    observer = Observer(world, SsdDetector.fresh(world.config, "random")[0], unused)
    prepared = replace(material.prepared, observer=observer, failures=tuple(failures))
    dealt_frames = replace(material.dealt, modes=tuple(modes))
    asked = {
        most: [one.mode for one in _missed(prepared, dealt_frames, Tried(planted, most))]
        for planted, most in ((True, None), (False, 2))
    }
    assert asked == {None: ["planted"] * 3, 2: ["planted"] * 2 + ["unknown"] * 2}
    assert (PLANTED.most, AS_THE_SERVICE.most) == (None, SynthesisSettings().failures_mode)


def missed_at(one: Sample) -> Failure:
    x1, y1, x2, y2 = (float(side) for side in one.truth.boxes_xyxy[0])
    return Failure(FailureKind.FALSE_NEGATIVE, (x1, y1, x2, y2), CAR, None, 0.1, 0, 0.6, 0)


def mode(key: str, members: list[str]) -> Mode:
    unused: Any = None
    kind, names = FailureKind.FALSE_NEGATIVE, tuple(members)
    return Mode(key, kind, "missed", CAR, names, names, len(names), *[unused] * 4)


def test_in_real_towns_all_that_is_not_of_the_field_judges(shared_data: Path) -> None:
    world = real.carla(shared_data, 0)
    wide = all_judge(world)
    judges = {one.name for one in wide.holdout}
    assert len(judges) == len(wide.holdout)
    assert not judges & {one.name for one in (*wide.field, *wide.train)}
    assert judges | {one.name for one in wide.field} == set(world.groups)
