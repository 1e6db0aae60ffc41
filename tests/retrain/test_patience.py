"""Training by steps: what is held back, when it is enough, and that a killed run ends the same."""

from dataclasses import replace

import pytest

from curation.kernel.manifest import ManifestItem
from retrain.config import FINE_TUNING, ConfigInvalid, DetectorConfig, TrainConfig
from retrain.data import TrainingSet
from retrain.engine import RESUME_FILE
from retrain.errors import TrainingInterrupted
from retrain.plan import ALONE_STEPS, COOLING, LOOK_STEPS, Look, Patience, is_enough, plan_of
from retrain.trainer import train
from retrain.validation import LEAST_IMAGES, LEAST_OBJECTS, held_out

from .conftest import NAMES, make_manifest

TINY = DetectorConfig("ssdlite_efficientnet_lite0", NAMES, (64, 96), 0.2, 0.8)
SHORT = TrainConfig(batch_size=4, learning_rate=2e-3, seed=4, max_steps=26)
LATEST = round(26 / (1 + COOLING))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def manifest(store):
    return make_manifest(store, 40)


@pytest.fixture(scope="module")
def whole(manifest, store, tmp_path_factory):
    seen, told = [], []
    folder = tmp_path_factory.mktemp("whole")
    detector = train(
        SHORT, TINY, manifest, store, folder, on_progress=seen.append, on_history=told.append
    )
    return detector, seen, told[0]


def test_the_validation_share_is_measured_until_the_rate_falls(whole):
    _, seen, history = whole
    assert (history.ended, history.cooled_from, history.steps) == ("bound", LATEST, 26)
    assert history.validation_images == 10
    assert history.validation_objects == LEAST_OBJECTS
    assert [look.step for look in history.looks] == [LATEST, 26]
    assert [look.ap50 is not None for look in history.looks] == [True, False]
    assert history.looks[-1].loss < history.looks[0].loss
    assert [one.step for one in seen] == list(range(1, 27))
    assert seen[LATEST - 1].ap50 is None
    assert seen[-1].ap50 == history.looks[0].ap50
    assert seen[-1].steps == 26
    assert seen[-1].eta_s == pytest.approx(0)


def test_killed_and_resumed_equals_undisturbed(whole, manifest, store, tmp_path):
    """In the last part, which begins with what the validation share has decided."""
    steps, told = [], []
    with pytest.raises(TrainingInterrupted):
        train(
            SHORT,
            TINY,
            manifest,
            store,
            tmp_path,
            on_progress=steps.append,
            should_stop=lambda: len(steps) >= LATEST + 2,
        )
    assert (tmp_path / RESUME_FILE).exists()
    steps.clear()
    resumed = train(
        SHORT, TINY, manifest, store, tmp_path, on_progress=steps.append, on_history=told.append
    )
    assert steps[0].step == LATEST + 1
    assert resumed.version == whole[0].version
    assert told[0] == whole[2]


def item(number: int, group: str = "", boxes: int = 3, generated: str = "") -> ManifestItem:
    box = (1.0, 1.0, 9.0, 9.0)
    labels, ignore = ("red",) * boxes, (False,) * boxes
    return ManifestItem(
        f"{number:064x}", f"{number}.png", 20, 20, (box,) * boxes, labels, ignore,
        group=group, generated=generated,
    )  # fmt: skip


def test_a_group_is_held_back_whole_or_not_at_all():
    items = [item(n, group=f"drive {n // 4}") for n in range(120)]
    held = held_out(items, 0.15, seed=0)
    drives = {items[row].group for row in held.rows}
    assert len(held.rows) == 4 * len(drives) == 20
    assert held.objects == 60
    assert held_out(items, 0.15, seed=0) == held
    assert held_out(items, 0.15, seed=1) != held
    backwards = held_out(items[::-1], 0.15, seed=0)
    assert {items[::-1][row].image for row in backwards.rows} == {items[r].image for r in held.rows}


def test_drawn_images_are_never_held_back():
    items = [item(n, generated="street:1" if n % 2 else "") for n in range(100)]
    assert not any(items[row].generated for row in held_out(items, 0.25, seed=0).rows)


@pytest.mark.parametrize(
    "items",
    [
        [item(n) for n in range(LEAST_IMAGES * 4 - 1)],
        [item(n, boxes=1) for n in range(70)],
        [item(n, group="one drive") for n in range(300)],
    ],
    ids=["few images", "few objects", "one group"],
)
def test_a_set_that_can_spare_nothing_says_so(items):
    held = held_out(items, 0.15, seed=0)
    assert not held.rows
    assert f"{len(items)} images" in held.why_not
    assert "too few to hold a validation share back" in held.why_not


def test_without_a_share_a_plan_goes_by_steps_alone(store):
    data = TrainingSet(make_manifest(store / "few", 6), store / "few", (64, 96), NAMES, 2**20)
    plan = Patience(TrainConfig(batch_size=4), data)
    epoch, step = 0, 0
    while not plan.is_done(epoch):
        step += -(-len(plan.order(epoch)) // 4)
        epoch += 1
        plan.end_epoch(epoch, step, 1.0, lambda: pytest.fail("there is nothing to measure"))
    history = plan.history()
    assert (history.ended, history.steps) == ("alone", ALONE_STEPS)
    assert "6 images" in history.note
    assert plan.factor(ALONE_STEPS) == pytest.approx(0, abs=1e-4)


def looks(values, loss=1.0):
    return [Look(LOOK_STEPS * (n + 1), loss, value) for n, value in enumerate(values)]


def test_it_is_enough_when_nothing_was_gained_for_so_many_looks():
    rising = [0.1 * n for n in range(1, 8)]
    assert not is_enough(looks(rising), 4)
    assert not is_enough(looks([*rising, *[0.7] * 4]), 4)
    assert is_enough(looks([*rising, *[0.7] * 6]), 4)


def test_one_lucky_look_ends_no_training():
    """The mean of the looks around it goes on rising."""
    assert not is_enough(looks([0.2, 0.3, 0.9, 0.45, 0.55, 0.65, 0.75, 0.85, 0.9]), 4)


def test_the_longer_it_learns_the_longer_is_waited():
    slow = [0.01 * n for n in range(1, 61)]
    assert not is_enough(looks([*slow, *[0.6] * 8]), 4)
    assert is_enough(looks([*slow, *[0.6] * 25]), 4)


def test_as_long_as_nothing_is_found_a_falling_loss_is_a_gain():
    nothing = [Look(LOOK_STEPS * (n + 1), 9 * 0.9**n, 0.001) for n in range(12)]
    assert not is_enough(nothing, 4)
    assert is_enough([replace(look, loss=9.0) for look in nothing], 4)


def test_by_epochs_nothing_is_held_back_and_names_of_runs_stay():
    assert "patience" not in FINE_TUNING.to_dict()
    assert "patience" in TrainConfig().to_dict()
    assert TrainConfig.from_dict(FINE_TUNING.to_dict()) == FINE_TUNING


@pytest.mark.parametrize("wrong", [{"validation_share": 0.5}, {"patience": 0}, {"max_steps": -1}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigInvalid, match=next(iter(wrong))):
        TrainConfig(**wrong)


def test_a_large_set_may_take_as_many_steps_as_epochs_did(store, manifest):
    data = TrainingSet(manifest, store, (64, 96), NAMES, 0)
    assert plan_of(TrainConfig(batch_size=1), data).steps == 2000
    data.items = [item(n) for n in range(2400)]
    data._targets = data._targets * 60
    assert plan_of(TrainConfig(batch_size=4), data).steps == 20 * 550
