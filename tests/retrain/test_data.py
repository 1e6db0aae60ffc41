"""Training data: refused before the first step when bad; order and augmentation by seed."""

from dataclasses import replace

import pytest
import torch

from curation.kernel.images import ImageLimits
from retrain.config import TrainConfig
from retrain.data import EpochView, TrainingSet, Unreadable, check, collate, epoch_order
from retrain.errors import ImagesUnreadable, TrainingDataInvalid
from retrain.loss import Target
from retrain.readable import allowed
from retrain.transforms import augmentation

from .conftest import NAMES, make_manifest


@pytest.fixture
def manifest(tmp_path):
    return make_manifest(tmp_path, 6, {1: "failure", 4: "failure"})


def with_first(manifest, **changes):
    return replace(manifest, items=(replace(manifest.items[0], **changes), *manifest.items[1:]))


def test_good_data_passes(manifest, tmp_path):
    check(manifest, tmp_path, NAMES)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"labels": ("red", "green")}, "green"),
        ({"boxes_xyxy": ((5.0, 5.0, 4.0, 9.0), (0.0, 0.0, 9.0, 9.0))}, "inverted"),
        ({"boxes_xyxy": ((5.0, 5.0, 400.0, 9.0), (0.0, 0.0, 9.0, 9.0))}, "leaves"),
    ],
)
def test_bad_items_are_refused_by_name(manifest, tmp_path, change, word):
    with pytest.raises(TrainingDataInvalid, match=word):
        check(with_first(manifest, **change), tmp_path, NAMES)


def test_a_lost_file_costs_itself_and_many_are_refused(manifest, tmp_path):
    (tmp_path / "0.png").unlink()
    check(manifest, tmp_path, NAMES)
    (tmp_path / "3.png").unlink()
    with pytest.raises(ImagesUnreadable, match=r"2 of 6 images.*at most 1.*0\.png"):
        check(manifest, tmp_path, NAMES)


def test_a_share_may_be_unreadable_and_never_all():
    assert [allowed(total) for total in (0, 1, 2, 6, 99, 100, 1000)] == [0, 0, 1, 1, 1, 2, 20]


def test_a_picture_over_the_limits_is_as_good_as_unreadable(manifest, tmp_path):
    limits = ImageLimits(max_pixels=120 * 80 - 1)
    data = TrainingSet(manifest, tmp_path, (64, 96), NAMES, 0, limits)
    view = EpochView(data, [0, 1], None, 0, 0)
    pixels, targets, lost = collate(view[position] for position in range(2))
    assert (len(pixels), targets, lost) == (0, [], ["0.png", "1.png"])
    small = TrainingSet(manifest, tmp_path, (64, 96), NAMES, 0, ImageLimits(max_pixels=120 * 80))
    assert not isinstance(EpochView(small, [0], None, 0, 0)[0], Unreadable)


def test_what_can_be_read_of_a_batch_is_trained_on(manifest, tmp_path):
    (tmp_path / "0.png").write_bytes(b"no picture")
    data = TrainingSet(manifest, tmp_path, (64, 96), NAMES, 0)
    view = EpochView(data, [0, 1, 2], None, 0, 0)
    pixels, targets, lost = collate(view[position] for position in range(3))
    assert (pixels.shape, len(targets), lost) == ((2, 3, 64, 96), 2, ["0.png"])


def test_nothing_to_learn_is_refused(manifest, tmp_path):
    with pytest.raises(TrainingDataInvalid, match="no items"):
        check(replace(manifest, items=()), tmp_path, NAMES)
    ignored = replace(manifest, items=(replace(manifest.items[0], ignore=(True, True)),))
    with pytest.raises(TrainingDataInvalid, match="nothing to learn"):
        check(ignored, tmp_path, NAMES)


def test_an_unreadable_image_is_named(manifest, tmp_path):
    (tmp_path / "0.png").write_bytes(b"no picture")
    data = TrainingSet(manifest, tmp_path, (64, 96), NAMES, 0)
    row = [item.file for item in data.items].index("0.png")
    with pytest.raises(TrainingDataInvalid, match=r"0\.png"):
        data.sample(row)


def test_ignored_boxes_are_told_apart(manifest, tmp_path):
    manifest = with_first(manifest, ignore=(True, False), labels=("whatever", "blue"))
    check(manifest, tmp_path, NAMES)
    data = TrainingSet(manifest, tmp_path, (64, 96), NAMES, 10**7)
    pixels, target = data.sample(0)
    assert pixels.shape == (3, 64, 96)
    assert target.labels.tolist() == [2]
    assert len(target.ignored) == 1


def test_the_cache_keeps_to_its_limit(manifest, tmp_path):
    data = TrainingSet(manifest, tmp_path, (64, 96), NAMES, 2 * 3 * 64 * 96)
    samples = [data.sample(row)[0] for row in range(len(data))]
    again = [data.sample(row)[0] for row in range(len(data))]
    assert sum(a is b for a, b in zip(samples, again, strict=True)) == 2
    assert all(torch.equal(a, b) for a, b in zip(samples, again, strict=True))


def test_boost_repeats_what_failures_asked_for(manifest, tmp_path):
    data = TrainingSet(manifest, tmp_path, (64, 96), NAMES, 0)
    asked = {row for row, item in enumerate(data.items) if item.origin}
    orders = [epoch_order(data, TrainConfig(boost=2.5), epoch) for epoch in range(40)]
    counts = [sum(row in asked for row in order) for order in orders]
    assert all(4 <= count <= 6 for count in counts)
    assert 4.5 < sum(counts) / len(counts) < 5.5
    assert all(sorted(set(order)) == list(range(6)) for order in orders)
    assert orders[0] == epoch_order(data, TrainConfig(boost=2.5), 0)
    assert orders[0] != epoch_order(data, TrainConfig(boost=2.5, seed=1), 0)


def test_augmentation_is_a_function_of_seed_epoch_and_position(manifest, tmp_path):
    data = TrainingSet(manifest, tmp_path, (64, 96), NAMES, 10**7)
    augment = augmentation("ssd", (64, 96), 1.0)
    state = torch.get_rng_state()
    view = EpochView(data, [0, 1, 0], augment, 5, 0)
    first, second = view[0], view[2]
    same = EpochView(data, [0, 1, 0], augment, 5, 0)[0]
    later = EpochView(data, [0, 1, 0], augment, 5, 1)[0]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first[0], same[0])
    assert torch.equal(first[1].boxes, same[1].boxes)
    assert not torch.equal(first[0], second[0])
    assert not torch.equal(first[0], later[0])


@pytest.mark.parametrize("policy", ["flip", "ssd"])
def test_boxes_stay_on_their_objects(manifest, tmp_path, policy):
    data = TrainingSet(manifest, tmp_path, (64, 96), NAMES, 10**7)
    augment = augmentation(policy, (64, 96), 1.0)
    seen = 0
    for seed in range(30):
        pixels, target = augment(*data.sample(seed % 6), seed)
        assert pixels.shape == (3, 64, 96)
        assert pixels.dtype == torch.uint8
        for box, label in zip(target.boxes, target.labels, strict=True):
            x, y = ((box[:2] + box[2:]) / 2).int().tolist()
            colour = pixels[:, min(y, 63), min(x, 95)].int()
            strongest = {1: 0, 2: 2}[int(label)]
            assert int(colour.argmax()) == strongest
            seen += 1
    assert seen > 30


def test_an_image_without_objects_is_augmented_too():
    augment = augmentation("ssd", (64, 96), 1.0)
    none = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))
    pixels, target = augment(torch.zeros(3, 64, 96, dtype=torch.uint8), none, 0)
    assert pixels.shape == (3, 64, 96)
    assert len(target.boxes) == 0


def test_what_was_drawn_is_shown_once_an_epoch(manifest, tmp_path):
    drawn = tuple(replace(item, generated="compose:1", origin="f") for item in manifest.items)
    data = TrainingSet(replace(manifest, items=drawn), tmp_path, (64, 96), NAMES, 0)
    assert sorted(epoch_order(data, TrainConfig(boost=2.5), 0)) == list(range(len(data)))
