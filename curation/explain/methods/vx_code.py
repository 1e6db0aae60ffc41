"""VX-CODE: patches in the order in which they make, or unmake, a detection together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
import torch

from curation.explain.base import check_segments, pixel_attributions
from curation.explain.methods.d_rise import Fill, fill_colour, hide, survival
from curation.explain.methods.patch_grid import Patches, patches_of
from curation.explain.methods.target_score import target_boxes
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import Attribution, BoolArray, FloatArray, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray, warp

Mode: TypeAlias = Literal["insertion", "deletion"]
Reward: TypeAlias = Callable[[BoolArray], FloatArray]
"""Rewards [B] of images of which the patches [B, P] are shown."""


@dataclass(frozen=True, slots=True)
class VxCode:
    """Greedy search: which patches next change the detection most, those before them being there.

    In the context of the patches that are chosen already, the Shapley values of a group and the
    interactions within it sum to the reward with the group less the reward without it, so the
    group of the greatest sum is found by trying. The reward is the detection's similarity, as of
    :class:`~curation.explain.methods.d_rise.DRise`. Every target is searched for by itself.

    Args:
        mode: "insertion" puts patches into the empty image until all are there, "deletion" takes
            them from the image.
        group: r, how many patches are chosen at a time; pairs and more are tried for the first
            ``group_share`` of the patches only, and of the ``candidates`` that are best alone.
        group_share: see there, in 0..1.
        candidates: see there.
        max_patches: P, at most; where more lie near the box they are made larger. A search of
            single patches takes P (P + 1) / 2 passes.
        fill: colour of what is hidden.
        kind: unit of ``score`` and ``baseline_score``; the map does not depend on it.
        batch_size: masked images held at a time; changes no value.

    Source:
        Yamauchi, Kera and Kawamoto, "Explaining object detectors via collective contribution of
        pixels", CVPR 2026 (VX-CODE), with sizes and window of patches from its published code. The
        target's class vector is one at its class, as for D-RISE here. The number of patches has a
        bound; published it is none, which differs for boxes that are long or nearly a fifth of the
        image.
    """

    mode: Mode = "insertion"
    group: int = 1
    group_share: float = 0.1
    candidates: int = 30
    max_patches: int = 100
    fill: Fill = "mean"
    kind: ScoreKind = ScoreKind.PROBABILITY
    batch_size: int = 16

    name: ClassVar[str] = "vx_code"

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode is {self.mode!r}, expected one of {get_args(Mode)}")
        if self.fill not in get_args(Fill):
            raise ValueError(f"fill is {self.fill!r}, expected one of {get_args(Fill)}")
        if not 1 <= self.group <= 3:
            raise ValueError(f"group is {self.group}, expected 1 to 3: more cost too many passes")
        if not 0 <= self.group_share <= 1:
            raise ValueError(f"group_share is {self.group_share}, expected a share in 0..1")
        if min(self.candidates, self.max_patches, self.batch_size) < 1:
            raise ValueError("candidates, max_patches and batch_size must be at least 1")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on; the batch size is not part of it."""
        return {
            "mode": self.mode,
            "group": self.group,
            "group_share": self.group_share,
            "candidates": self.candidates,
            "max_patches": self.max_patches,
            "fill": self.fill,
            "kind": str(self.kind),
        }

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Maps of all targets: how much was left to gain, or to lose, as each patch's turn came."""
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        small = warp(image, detector.input_size_hw)  # [h, w, 3]
        colour = fill_colour(detector, self.fill)
        aims = target_boxes(detector, small, targets)  # [T, 4]
        found, notes = [], []
        for aim, target in zip(aims, targets, strict=True):
            patches = patches_of(segments.shape, aim, self.max_patches)
            reward = self._reward(detector, small, colour, patches, aim, target.label)
            found.append(patches.paint(self.values(reward, patches.count)))
            notes.append((f"{patches.count} patches near the box, nothing beyond them is judged",))
        blank = np.broadcast_to(colour, image.shape).astype(np.uint8)
        with torch.no_grad():
            both = torch.cat([detector.preprocess([view]) for view in (image, blank)])
            scores = detector.scores(both, targets, self.kind).float().cpu().numpy()  # [2, T]
        return pixel_attributions(self, segments, targets, np.stack(found), tuple(scores), notes)

    def values(self, reward: Reward, count: int) -> FloatArray:
        """[P] in 0..1 of the patches: 1 for the first, then what the reward had still to go.

        Args:
            reward: see :data:`Reward`.
            count: P.
        """
        values = np.zeros(count, np.float32)
        left = 1.0
        for patch, after in self.order(reward, count):
            values[patch] = left
            left = 1 - after if self.mode == "insertion" else after
        return values

    def order(self, reward: Reward, count: int) -> list[tuple[int, float]]:
        """All P patches in the order they are chosen, each with the reward once it was.

        Of a group, the order within is the one whose rewards on the way are best in sum.
        """
        shown = np.full(count, self.mode == "deletion")
        chosen: list[tuple[int, float]] = []
        while len(chosen) < count:
            left = np.flatnonzero(shown == (self.mode == "deletion"))
            size = min(self.group, len(left)) if len(chosen) < self.group_share * count else 1
            if size > 1:
                alone = self._tried(reward, shown, left[:, None])
                kept = np.argsort(-alone, kind="stable")[: self.candidates]
                left = left[np.sort(kept)]
                size = min(size, len(left))
            groups = np.array(list(itertools.combinations(left, size)))  # [G, size]
            goods = self._tried(reward, shown, groups)
            best = int(goods.argmax())
            step = (
                [(int(groups[best, 0]), self._sign * float(goods[best]))]
                if size == 1
                else self._within(reward, shown, groups[best])
            )
            for patch, _ in step:
                shown[patch] = not shown[patch]
            chosen += step
        return chosen

    def _tried(self, reward: Reward, shown: BoolArray, groups: np.ndarray) -> FloatArray:
        """[G] how good it is to turn each group [G, size] of patches, the greater the better."""
        turned = np.repeat(shown[None], len(groups), axis=0)  # [G, P]
        rows = np.arange(len(groups))[:, None]
        turned[rows, groups] = ~turned[rows, groups]
        rewards = np.concatenate(
            [
                reward(turned[start : start + self.batch_size])
                for start in range(0, len(turned), self.batch_size)
            ]
        )
        return rewards if self.mode == "insertion" else -rewards

    def _within(
        self, reward: Reward, shown: BoolArray, group: np.ndarray
    ) -> list[tuple[int, float]]:
        """The patches of a group in the best order, each with the reward after it."""
        best: list[tuple[int, float]] = []
        most = -np.inf
        for order in itertools.permutations(int(patch) for patch in group):
            steps = [np.array([order[: end + 1]]) for end in range(len(order))]
            goods = [float(self._tried(reward, shown, step)[0]) for step in steps]
            if sum(goods) > most:
                most = sum(goods)
                rewards = [self._sign * good for good in goods]
                best = list(zip(order, rewards, strict=True))
        return best

    @property
    def _sign(self) -> float:
        """Which way is better: a greater reward, or a smaller one."""
        return 1.0 if self.mode == "insertion" else -1.0

    def _reward(
        self,
        detector: Detector,
        image: ImageArray,
        colour: FloatArray,
        patches: Patches,
        aim_xyxy: FloatArray,
        label: int,
    ) -> Reward:
        """The reward of the detector; what lies beyond the patches is hidden, or shown, for good.

        Insertion begins with the empty image, deletion with the whole.
        """
        beyond = self.mode == "deletion"

        def reward(shown: BoolArray) -> FloatArray:
            views = [hide(image, patches.mask(row, beyond), colour) for row in shown]
            seen = detector.propose(views)
            return np.array([survival(one, aim_xyxy[None], [label])[0] for one in seen], np.float32)

        return reward
