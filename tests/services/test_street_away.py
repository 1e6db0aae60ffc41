"""A cause that stands far from the object that it makes fail."""

from __future__ import annotations

import numpy as np

from services.demo.street import AWAY_CAUSES, CAUSE_CLASS, Scene, WorldConfig, generate
from services.demo.street.config import PEDESTRIAN

(CAUSE,) = AWAY_CAUSES
AWAY = WorldConfig(causes=AWAY_CAUSES, figure_share=0.4, decoy_share=0.2)


def planted(count: int) -> list[Scene]:
    return [scene for scene in generate(AWAY, "field", count, 3) if CAUSE in scene.planted]


def test_what_hurts_lies_outside_twice_the_box_of_what_it_hurts() -> None:
    scenes = planted(60)
    assert len(scenes) > 10
    for scene in scenes:
        row = scene.causes.index(CAUSE)
        x1, y1, x2, y2 = scene.truth.boxes_xyxy[row]
        half_w, half_h = x2 - x1, y2 - y1  # of the box at twice its size
        middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
        rows, columns = np.nonzero(scene.cause_masks[row])
        assert len(rows) > 50
        inside = (abs(columns - middle_x) < half_w) & (abs(rows - middle_y) < half_h)
        assert inside.mean() < 0.05


def test_the_seed_set_shows_dummies_and_nobody_in_sight_of_a_kiosk() -> None:
    """Dummies are no objects; the seed set holds no cause, and fewer people than without them."""
    scenes = list(generate(AWAY, "seed", 80, 3))
    assert not any(scene.planted for scene in scenes)
    plain = WorldConfig(causes=AWAY_CAUSES)
    people = [
        sum(
            int((scene.truth.labels == PEDESTRIAN).sum())
            for scene in generate(config, "seed", 80, 3)
        )
        for config in (AWAY, plain)
    ]
    assert 0 < people[0] < people[1]


def _people(scenes: list[Scene]) -> int:
    return sum(int((scene.truth.labels == PEDESTRIAN).sum()) for scene in scenes)


def test_a_planted_scene_shows_one_person() -> None:
    for scene in planted(40):
        assert (scene.truth.labels == PEDESTRIAN).sum() == 1
        assert CAUSE_CLASS[CAUSE] == PEDESTRIAN


def test_without_dummies_the_worlds_of_before_stay_as_they_were() -> None:
    """Nothing is drawn for them: a scene is the same whatever share decoys have elsewhere."""
    assert WorldConfig().figures("seed") == 0.0
    assert AWAY.figures("seed") == AWAY.figure_share
    assert AWAY.figures("pool") == AWAY.decoy_share
