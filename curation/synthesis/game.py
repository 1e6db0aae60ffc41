"""The transplant game: players near a missed object, and known objects that they are put around.

See :mod:`curation.synthesis.transplant` for what is asked of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from curation import superpixels
from curation.kernel.boxes import pairwise_iou
from curation.kernel.detector import Detector
from curation.kernel.types import BoolArray, Box, FloatArray, ImageArray, IntArray
from curation.superpixels import SegmentArray
from curation.synthesis.blend import Blending
from curation.synthesis.composite import BLENDING, Object, Surroundings, placed, put
from curation.synthesis.geometry import carry, carry_labels

Score: TypeAlias = Callable[[Sequence[ImageArray], Sequence[Box]], FloatArray]
"""Images and the box of the object in each, to its score [N] float32 in 0..1."""
COLOUR = 15.0
"""Distance of Lab colours that counts as much as one side of the object."""


@dataclass(frozen=True, slots=True)
class GameRules:
    """How the game is played.

    Attributes:
        window: players lie in the box of the object, scaled by this about its centre.
        groups: superpixels that look alike play as one, and so many groups play at most: what
            hurts is a bus or a wall, and few coalitions tell few players apart.
        coalitions: drawn, in pairs of complements.
        ridge: of the regression, in units of the variance of a player's mask.
        light: whether the light on the object is a player.
        batch: images scored at once.
    """

    window: float = 2.6
    groups: int = 12
    coalitions: int = 64
    ridge: float = 0.05
    light: bool = True
    batch: int = 16


def scorer(detector: Detector, label: int, iou: float = 0.5) -> Score:
    """The highest probability of a class among default boxes that overlap the object.

    Args:
        detector: whose failures these are.
        label: the class, in 1..K-1.
        iou: overlap of a regressed box from which it finds the object.
    """

    def score(images: Sequence[ImageArray], boxes: Sequence[Box]) -> FloatArray:
        found = np.zeros(len(images), np.float32)
        for row, (proposals, box) in enumerate(zip(detector.propose(images), boxes, strict=True)):
            near = pairwise_iou(proposals.boxes_xyxy, np.array([box], np.float32))[:, 0] >= iou
            probabilities = proposals.probabilities[near, label]
            found[row] = probabilities.max() if len(probabilities) else 0.0
        return found

    return score


def on_frame(segments: SegmentArray, size_wh: tuple[int, int]) -> SegmentArray:
    """A map on the network's grid, on the grid of the frame: [H, W] int32."""
    resized = cv2.resize(segments.astype(np.int32), size_wh, interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, np.int32)


def players_of(segments: SegmentArray, box_xyxy: Box, window: float) -> IntArray:
    """Segments [P] whose centre lies in the scaled box; the nearest, if none does."""
    centres = superpixels.centroids_xy(segments)
    middle = np.array([(box_xyxy[0] + box_xyxy[2]) / 2, (box_xyxy[1] + box_xyxy[3]) / 2])
    half = np.array([box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1]]) * window / 2
    away = np.abs(centres - middle) / np.maximum(half, 1e-6)  # [S, 2]
    inside: IntArray = np.flatnonzero((away <= 1).all(axis=1))
    return inside if len(inside) else np.array([int(away.max(axis=1).argmin())], np.int64)


def groups_of(
    segments: SegmentArray, players: IntArray, image: ImageArray, box_xyxy: Box, most: int
) -> IntArray:
    """Which players look alike and stand near one another, [P] int64 in 0..G-1.

    Args:
        segments: [H, W] int32.
        players: [P] of them.
        image: [H, W, 3] uint8.
        box_xyxy: of the object; distances count in its sides.
        most: groups at most.

    Source:
        Ward's linkage of mean Lab colours and places.
    """
    if len(players) <= most:
        return np.arange(len(players))
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    area = np.bincount(segments.ravel()).astype(np.float64)
    means = [np.bincount(segments.ravel(), lab[:, channel]) / area for channel in range(3)]
    colour = np.stack(means, axis=1)[players] / COLOUR
    side = max(1.0, float(np.sqrt((box_xyxy[2] - box_xyxy[0]) * (box_xyxy[3] - box_xyxy[1]))))
    places = superpixels.centroids_xy(segments)[players] / side
    tree = linkage(np.concatenate([colour, places], axis=1), "ward")
    groups: IntArray = fcluster(tree, most, "maxclust").astype(np.int64) - 1
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A known object with the other frame moved onto it."""

    known: Object
    above: ImageArray
    labels: SegmentArray
    light: tuple[FloatArray, FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class Game:
    """One object that was missed, and known ones to try its surroundings on.

    Attributes:
        around: its frame.
        segments: [H, W] int32 of that frame.
        known: D objects of its class that the detector finds.
        others: D frames that have nothing to do with it, each with a box of the same place and the
            light of a known object; none for a game without contrast.
        score: of an object in a picture.
        rules: see there.
        blending: of all composites.
    """

    around: Surroundings
    segments: SegmentArray
    known: Sequence[Object]
    score: Score
    others: Sequence[Surroundings] = ()
    rules: GameRules = GameRules()
    blending: Blending = BLENDING

    def __post_init__(self) -> None:
        if self.others and len(self.others) != len(self.known):
            raise ValueError(f"{len(self.others)} other frames for {len(self.known)} known objects")

    def stages(self) -> list[Stage]:
        """[D] with the pixels of the frame, then [D] with those of the others."""
        frames = [self.around] * len(self.known) + list(self.others)
        stages = []
        for known, frame in zip([*self.known] * 2, frames, strict=False):
            placement = placed(known, self.around)
            size_hw = known.alpha.shape[0], known.alpha.shape[1]
            labels = carry_labels(self.segments, placement, size_hw)
            above = carry(frame.pixels, placement, size_hw)
            stages.append(Stage(known, above, labels, frame.light))
        return stages

    def own_scores(self) -> FloatArray:
        """[D] of the known objects in their own pictures."""
        return self.score([k.pixels for k in self.known], [k.box_xyxy for k in self.known])

    def scores(
        self, masks: BoolArray, light: BoolArray, rows: IntArray, stages: Sequence[Stage]
    ) -> FloatArray:
        """[N] scores of known objects ``rows`` among segments ``masks`` [N, S], ``light`` [N]."""
        found = []
        for start in range(0, len(rows), self.rules.batch):
            images, boxes = [], []
            for n in range(start, min(len(rows), start + self.rules.batch)):
                stage = stages[rows[n]]
                hole = np.append(masks[n], False)[stage.labels]  # -1: the frame does not reach
                how = stage.light if light[n] else None
                images.append(put(stage.known, stage.above, hole, how, self.blending).image)
                boxes.append(stage.known.box_xyxy)
            found.append(self.score(images, boxes))
        return np.concatenate(found)
