"""Arms of drawn samples: what each adds to the seed set, and that it can be trained on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.loop.worlds import Sample, World
from benchmarks.synthesis import arms, recipes
from benchmarks.synthesis.arms import BY_NAME
from benchmarks.synthesis.prepare import Known, Miss, Ready, found_objects
from benchmarks.synthesis.recipes import Put
from curation.kernel.images import content_hash, encode_png
from curation.kernel.types import Failure, FailureKind, Truth
from retrain.config import DetectorConfig
from tests.curation.synthesis_pictures import CAR, Toy, donor, harm

CLASSES = ("background", "car")
CAUSE = "guilt"


def sample(root: Path, name: str, image, truth: Truth, cause: str | None = None) -> Sample:
    data = encode_png(image)
    (root / f"{name}.png").write_bytes(data)
    size_wh = (image.shape[1], image.shape[0])
    planted = frozenset({cause} if cause else ())
    causes = (cause,) * len(truth)
    return Sample(name, f"{name}.png", content_hash(data), size_wh, truth, causes, planted)


@pytest.fixture
def ready(tmp_path: Path) -> Ready:
    donors = [donor(seed) for seed in range(24)]
    train = [sample(tmp_path, d.image, d.pixels, d.truth) for d in donors]
    judges = [donor(900 + seed) for seed in range(4)]
    holdout = [sample(tmp_path, d.image, d.pixels, d.truth) for d in judges]
    misses, frames = [], []
    for number in range(6):
        one = harm(number)
        truth = Truth(np.array([one.box_xyxy], np.float32), np.array([CAR]), np.zeros(1, np.bool_))
        frames.append(sample(tmp_path, one.image, one.pixels, truth, CAUSE))
        kind = FailureKind.FALSE_NEGATIVE
        failure = Failure(kind, one.box_xyxy, CAR, None, 0.1, 0, 0.6, 0)
        misses.append(Miss(f"{one.image}#0", frames[-1], CAUSE, failure, one.mask))
    config = DetectorConfig("ssdlite_efficientnet_lite0", CLASSES, (96, 128), 0.15, 0.8)
    splits = (tuple(train), tuple(frames), (), tuple(holdout[:2]), tuple(holdout[2:]))
    world = World("toy", 0, tmp_path, CLASSES, config, {CAUSE: CAR}, *splits)
    detector = Toy()
    known = tuple(found_objects(detector, world, world.train))
    return Ready(world, detector, tmp_path / "base", tuple(misses), known)


@pytest.fixture
def puts(ready: Ready) -> arms.AllPuts:
    empty = np.zeros((96, 128), np.bool_)
    empty[:4, :4] = True
    return {
        miss.name: {recipes.CHOSEN: Put(miss.planted), "random": Put(empty)}
        for miss in ready.misses
    }


def test_known_objects_are_those_that_are_found(ready: Ready) -> None:
    assert len(ready.known) == 24
    assert all(isinstance(one, Known) and one.score >= 0.5 for one in ready.known)


def test_frames_are_added_as_they_are_and_same_data_adds_nothing(ready: Ready, puts) -> None:
    assert arms.new_samples(BY_NAME["same_data"], ready, puts, 5, 0) == []
    frames = arms.new_samples(BY_NAME["field_frames"], ready, puts, 5, 0)
    assert [one.name for one in frames] == [one.name for one in ready.world.field]


def test_drawn_samples_reproduce_and_are_a_data_set(ready: Ready, puts) -> None:
    new = arms.new_samples(BY_NAME["compose"], ready, puts, 5, 0)
    assert len(new) == 5
    again = arms.new_samples(BY_NAME["compose"], ready, puts, 5, 0)
    assert [one.digest for one in new] == [one.digest for one in again]
    manifest = ready.world.manifest([*ready.world.train, *new])
    assert len(manifest.items) == 29
    for one in new:
        image = ready.world.image(one)
        assert content_hash(encode_png(image)) == one.digest
        assert ready.detector.predict([image], 0.5)[0].scores.tolist() == []  # missed now


def test_frames_and_drawn_samples_come_together(ready: Ready, puts) -> None:
    new = arms.new_samples(BY_NAME["field_frames_compose"], ready, puts, 3, 0)
    assert [one.name.startswith("drawn") for one in new] == [False] * 6 + [True] * 3


def test_controls_do_no_harm_and_what_does_none_is_not_kept(ready: Ready, puts) -> None:
    for one in arms.new_samples(BY_NAME["control"], ready, puts, 4, 0):
        assert len(ready.detector.predict([ready.world.image(one)], 0.5)[0]) == 1
    assert arms.new_samples(BY_NAME["random_regions"], ready, puts, 5, 0) == []
    unchecked = replace(BY_NAME["random_regions"], checked=False)
    assert len(arms.new_samples(unchecked, ready, puts, 5, 0)) == 5


def test_causes_take_turns() -> None:
    class Named:
        def __init__(self, cause: str, name: str) -> None:
            self.cause, self.name = cause, name

    dealt = recipes.dealt([Named("b", "1"), Named("b", "2"), Named("a", "3")])
    assert [one.name for one in dealt] == ["3", "1", "2"]
