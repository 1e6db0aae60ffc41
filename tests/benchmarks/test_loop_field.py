"""Arms that learn from the failing frames: how these are dealt, judged, and what the bars say."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.loop import bars, field, field_bars, table, training
from benchmarks.loop.arms import ARMS, BY_NAME, DEALS, FIELD_ARMS, FIELD_FRAMES, Deal, choose
from benchmarks.loop.evidence import Observer
from benchmarks.loop.prepare import Prepared, told
from benchmarks.loop.worlds import Sample, World
from curation import explain
from curation.embedding.embed import RegionEmbedder
from curation.embedding.encoder import TimmEncoder
from curation.index import RegionIndex
from curation.kernel.images import content_hash, encode_png, perceptual_hash
from curation.kernel.types import Failure, FailureKind, Truth
from curation.select import Budget
from services.config.setting_groups import SelectionSettings
from tests.tiny_ssd import CLASS_NAMES, tiny_ssd

SIZE = 96
CAUSE = "disc on stripes"
SEEDS = (2, 3, 4)


def unit(arm: str, seed: int, budget: int, ap: float, **more: Any) -> dict[str, Any]:
    return {"arm": arm, "seed": seed, "budget": budget, "result": {"slice_ap50": ap, **more}}


def study(alone: float, e2x: dict[int, float], random: float) -> list[dict[str, Any]]:
    """The frames alone, with E2X at some budgets, with random at 150, equal on all seeds."""
    units = []
    for seed in SEEDS:
        units.append(unit("field_frames", seed, 0, alone))
        units += [unit("field_frames_e2x", seed, budget, ap) for budget, ap in e2x.items()]
        units += [unit("field_frames_random", seed, b, random - (150 - b) / 1e4) for b in (75, 150)]
    return units


def verdict(judges: tuple[int, int], siblings: tuple[int, int]) -> dict[str, Any]:
    return {"cause": CAUSE, "judges": judges, "parents": (0, 1), "siblings": siblings}


def test_points_above_are_those_of_the_largest_budget() -> None:
    found = field_bars.field_bars(study(0.50, {50: 0.52, 75: 0.9, 150: 0.56}, 0.53))

    assert found["F1"]["value"] == pytest.approx(3)
    assert (found["F1"]["bar"], found["F1"]["met"], found["F1"]["budget"]) == (2, True, 150)
    assert found["F2"]["value"] == pytest.approx(6)
    assert (found["F2"]["bar"], found["F2"]["met"]) == (3, True)


def test_an_interval_that_holds_the_bar_leaves_it_open() -> None:
    units = study(0.50, {150: 0.56}, 0.53)
    for one in units:
        if one["arm"] == "field_frames_e2x":
            one["result"]["slice_ap50"] += {2: -0.025, 3: 0, 4: 0.025}[one["seed"]]

    found = field_bars.field_bars(units)

    assert found["F1"]["value"] == pytest.approx(3)
    assert found["F1"]["low"] == pytest.approx(0.5)
    assert not found["F1"]["met"]
    assert found["F1_at_all"]["met"]


@pytest.mark.parametrize(
    ("alone", "e2x", "needed"),
    [
        (0.50, {50: 0.54, 75: 0.55, 150: 0.56}, 1 / 3),
        (0.50, {50: 0.52, 75: 0.55, 150: 0.56}, 1 / 2),
        (0.50, {50: 0.54, 75: 0.52, 150: 0.56}, 1),  # lucky at 50, not ahead for good
        (0.50, {50: 0.51, 75: 0.51, 150: 0.52}, 1),
        (0.54, {50: 0.54, 75: 0.55, 150: 0.56}, 0),  # the frames alone are ahead of random
    ],
)
def test_boxes_needed_are_those_of_a_budget_that_was_trained(
    alone: float, e2x: dict[int, float], needed: float
) -> None:
    found = field_bars.field_bars(study(alone, e2x, 0.53))
    assert found["F3"]["value"] == pytest.approx(needed)
    assert found["F3"]["met"] == (needed <= 1 / 3)


def test_judges_and_siblings_agree_by_the_rule_of_the_service() -> None:
    """At most a fifth of the places may fail; modes that one of the two does not know are out."""
    modes = [
        verdict((1, 5), (2, 10)),  # both: fixed
        verdict((4, 5), (9, 10)),  # neither
        verdict((1, 5), (3, 10)),  # judges alone
        verdict((0, 0), (9, 10)),
        verdict((0, 5), (0, 0)),
    ]
    units = study(0.5, {150: 0.56}, 0.53)
    for one in units:
        if one["arm"] == "field_frames":
            one["result"]["modes"] = modes

    found = field_bars.field_bars(units)["F5"]

    assert found["value"] == found["low"] == found["high"] == pytest.approx(2 / 3)
    assert (found["modes"], found["met"]) == (9, False)
    assert found["fixed_by_judges"] == pytest.approx(2 / 3)
    assert found["mended_judges"] == pytest.approx(1 - 6 / 15)
    assert found["mended_siblings"] == pytest.approx(1 - 14 / 30)
    assert found["mended_parents"] == 1
    assert found["fixed_by_siblings"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("judges", "siblings", "chance"),
    [
        ((0, 5), (0, 9), 1.0),  # a rate of nothing: both always say fixed
        ((5, 5), (9, 9), 1.0),
        ((1, 1), (0, 1), 0.5),  # two tosses of a coin
        ((1, 2), (1, 2), 1 / 4 * 1 / 4 + 3 / 4 * 3 / 4),
    ],
)
def test_beside_it_stands_what_samples_of_one_rate_would_agree_in(
    judges: tuple[int, int], siblings: tuple[int, int], chance: float
) -> None:
    units = study(0.5, {150: 0.56}, 0.53)
    for one in units:
        if one["arm"] == "field_frames":
            one["result"]["modes"] = [verdict(judges, siblings)]
    assert field_bars.field_bars(units)["F5"]["of_one_rate"] == pytest.approx(chance)


def test_beside_the_boxes_needed_stand_those_of_the_oracle() -> None:
    units = study(0.50, {150: 0.51}, 0.53)
    assert field_bars.field_bars(units)["F3"]["oracle"] is None

    for seed in SEEDS:
        units += [unit("field_frames_oracle", seed, b, ap) for b, ap in ((75, 0.54), (150, 0.56))]

    assert field_bars.field_bars(units)["F3"]["oracle"] == pytest.approx([0.5] * 3)


def test_without_the_three_arms_there_is_no_bar() -> None:
    units = study(0.5, {150: 0.56}, 0.53)
    assert field_bars.field_bars([one for one in units if one["arm"] != "field_frames"]) == {}
    assert field_bars.field_bars([]) == {}


def test_only_units_of_the_same_first_detector_stand_beside() -> None:
    own = [unit("field_frames_e2x", 2, 75, 0.5, slice_ap50_before=0.25)]
    beside = unit("e2x", 2, 75, 0.4, slice_ap50_before=0.25)
    others = [
        unit("e2x", 2, 30, 0.4, slice_ap50_before=0.25),
        unit("e2x", 2, 75, 0.4, slice_ap50_before=0.26),
        unit("e2x", 3, 75, 0.4, slice_ap50_before=0.25),
    ]
    assert table.same_start(own, [*others, beside]) == [beside]


def test_a_budget_that_a_seed_lacks_is_left_out() -> None:
    units = study(0.50, {150: 0.56}, 0.53)
    more = [unit("field_frames_e2x", 2, 50, 0.5), unit("field_frames_oracle", 3, 150, 0.5)]
    assert table.whole([*units, *more]) == units


def test_arms_with_frames_are_no_rivals_of_those_without() -> None:
    assert set(bars.RIVALS) <= {arm.name for arm in ARMS}
    assert all(BY_NAME[arm.name].field for arm in FIELD_ARMS)


def picture(name: str, held: bool, root: Path, rng: np.random.Generator) -> Sample:
    """A disc or a square of the detector's size, the disc on stripes; both on noise."""
    pixels = rng.integers(60, 120, (SIZE, SIZE, 3)).astype(np.uint8)
    x, y = (int(value) for value in rng.integers(4, SIZE - 44, 2))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    if held:
        pixels[:, columns[0] % 8 < 4] //= 2
        pixels[np.hypot(rows - y - 20, columns - x - 20) < 20] = (220, 40, 40)
    else:
        pixels[y : y + 40, x : x + 40] = (40, 40, 220)
    data = encode_png(pixels)
    (root / f"{name}.png").write_bytes(data)
    box = np.array([[x, y, x + 40, y + 40]], np.float32)
    truth = Truth(box, np.array([1 if held else 2]), np.zeros(1, np.bool_))
    causes = (CAUSE if held else None,)
    planted = frozenset([CAUSE] if held else [])
    return Sample(name, f"{name}.png", content_hash(data), (SIZE, SIZE), truth, causes, planted)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A tiny world whose detector knows nothing; the pool holds a copy of every field frame."""
    root, rng = tmp_path_factory.mktemp("world"), np.random.default_rng(0)
    counts = {"train": 4, "field": 12, "pool": 20, "siblings": 14, "holdout": 2}
    parts = {
        part: tuple(picture(f"{part}{row}", row % 3 < 2, root, rng) for row in range(count))
        for part, count in counts.items()
    }
    copies = []
    for sample in parts["field"]:
        shutil.copy(root / sample.file, root / f"copy-{sample.file}")
        copies.append(replace(sample, name=f"copy-{sample.name}", file=f"copy-{sample.file}"))
    parts["pool"] = (*parts["pool"], *copies)
    detector = tiny_ssd()
    base = detector.save(root / "base")
    drives = {f"field{row}": f"drive{row // 2}" for row in range(counts["field"])}
    world = World(
        "made",
        5,
        root,
        CLASS_NAMES,
        detector.config,
        {CAUSE: 1},
        parts["train"],
        parts["field"],
        parts["pool"],
        parts["siblings"],
        parts["holdout"],
        drives,
        sought_share=1.0,
    )
    encoder = TimmEncoder(weights="random", input_size_hw=(64, 64))
    observer = Observer(world, detector, RegionEmbedder(encoder, mask_size_hw=(64, 64)))
    explainer = explain.get("e2x", num_samples=2)
    index = RegionIndex(root / "index", observer.embedder.version, observer.embedder.width)
    pool = tuple(replace(image, boxes_estimate=1.0) for image in observer.pool(index))
    return Prepared(
        observer,
        explainer,
        base,
        told(tuple(observer.failures(explainer)), world),
        pool,
        {sample.name: sample for sample in world.pool},
        index,
        (),
        observer.known(world.train),
        observer.wholes(world.train),
        observer.difficulty(world.field),
    )


def test_frames_are_dealt_by_drive_and_always_alike(prepared: Prepared) -> None:
    dealt = field.deal_frames(prepared, Deal())

    again = field.deal_frames(prepared, Deal())
    assert (again.parents, again.judges) == (dealt.parents, dealt.judges)
    parents, judges = ({s.name for s in side} for side in (dealt.parents, dealt.judges))
    assert parents
    assert judges
    assert parents | judges == {failure.sample for failure in prepared.failures}
    drives = [{prepared.world.groups[name] for name in side} for side in (parents, judges)]
    assert not drives[0] & drives[1]
    assert SelectionSettings().learn_from_field == Deal().share


@pytest.mark.parametrize(("share", "teach"), [(0, False), (1, True)])
def test_a_share_of_all_or_nothing(prepared: Prepared, share: float, teach: bool) -> None:
    dealt = field.deal_frames(prepared, Deal(share))
    assert bool(dealt.parents) == teach
    assert bool(dealt.judges) != teach


def test_a_lone_frame_judges_where_it_is_told_to(prepared: Prepared) -> None:
    lone = field.deal_frames(prepared, DEALS[f"{FIELD_FRAMES}_lone_judges"])
    teaches = {sample.name for sample in lone.parents}
    frame_of = {failure.name: failure.sample for failure in prepared.failures}
    groups = [
        {prepared.world.groups[frame_of[member]] for member in mode.members} for mode in lone.modes
    ]
    own = [group for own in groups if len(own) == 1 for group in own]
    shared = {group for own in groups if len(own) > 1 for group in own}
    taught = {prepared.world.groups[name] for name in teaches}
    assert own
    assert not taught & (set(own) - shared)


@pytest.mark.parametrize("arm", [arm.name for arm in FIELD_ARMS])
def test_nobody_labels_the_like_of_a_frame_that_teaches(prepared: Prepared, arm: str) -> None:
    dealt = field.deal_frames(prepared, Deal())
    like = {f"copy-{sample.name}" for sample in dealt.parents}

    asked = choose(BY_NAME[arm], field.taught(prepared, dealt), Budget(images=100))
    before = choose(BY_NAME[arm], prepared, Budget(images=100))

    assert asked
    assert not like & {one.image for one in asked}
    assert like & {one.image for one in before}


def test_an_object_that_is_found_now_fails_no_more(prepared: Prepared) -> None:
    """The same failure with another default box is the same place; another object is not."""
    one = Failure(
        kind=FailureKind.FALSE_NEGATIVE,
        box_xyxy=(10, 10, 50, 50),
        label=1,
        predicted_label=None,
        score=0.1,
        default_box=3,
        iou=0.5,
        truth_index=0,
    )
    other = replace(one, box_xyxy=(60, 60, 90, 90), truth_index=1)
    again = replace(one, default_box=4, kind=FailureKind.BAD_LOCALISATION)
    before = {"a": [one, other], "b": [one]}

    got = field.still_failing(before, {"a": [again], "b": []}, prepared.world)

    assert got == (1, 3)


def test_the_arm_trains_on_the_frames_and_counts_no_label_for_them(
    prepared: Prepared, tmp_path: Path
) -> None:
    """A whole unit: deal, choose, fine-tune, test, judge. Frames that teach cost nothing."""
    alone = training.measure("field_frames", 0, prepared, tmp_path, epochs=1, threads=1)
    more = training.measure("field_frames_random", 5, prepared, tmp_path, epochs=1, threads=1)

    assert (alone["boxes"], alone["images"]) == (0, 0)
    assert more["boxes"] == 5
    assert alone["parents"] == more["parents"] > 0
    places = sum(mode["judges"][1] + mode["parents"][1] for mode in alone["modes"])
    assert places == len(prepared.failures)
    told_by_siblings = [mode for mode in alone["modes"] if mode["siblings"][1]]
    assert {mode["cause"] for mode in told_by_siblings} == {CAUSE}


def test_hashes_of_frames_that_teach_are_their_pictures(prepared: Prepared) -> None:
    dealt = field.deal_frames(prepared, Deal())
    image = prepared.world.image(dealt.parents[0])
    assert perceptual_hash(image) in field.taught(prepared, dealt).excluded_hashes
