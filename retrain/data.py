"""From a manifest to training samples: checked first, decoded once, augmented by seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from curation.kernel.boxes import require_valid_boxes
from curation.kernel.errors import CurationError
from curation.kernel.images import ImageLimits, load
from curation.kernel.manifest import Manifest, ManifestItem
from retrain.config import TrainConfig
from retrain.errors import TrainingDataInvalid
from retrain.loss import Target
from retrain.preprocess import warp
from retrain.readable import UNREADABLE, require_few
from retrain.transforms import Augment, Sample


def check(manifest: Manifest, image_root: Path, class_names: Sequence[str]) -> None:
    """Refuse, before the first step, what would fail or teach nonsense in the middle of a run.

    Args:
        manifest: what is to be trained on.
        image_root: folder that the items' files are relative to.
        class_names: K names of the detector, background first.

    Raises:
        TrainingDataInvalid: no items, no objects, a class the detector lacks, a bad box. The
            message names the first.
        ImagesUnreadable: more than a small share of the files is missing.
    """
    if not manifest.items:
        raise TrainingDataInvalid("the manifest has no items")
    for item in manifest.items:
        _check_item(item, class_names)
    missing = {item.file for item in manifest.items if not (image_root / item.file).is_file()}
    require_few(missing, len(manifest.items))
    if not any(not ignored for item in manifest.items for ignored in item.ignore):
        raise TrainingDataInvalid("no item has an object that counts: nothing to learn from")


def _check_item(item: ManifestItem, class_names: Sequence[str]) -> None:
    unknown = sorted(
        {
            label
            for label, ignored in zip(item.labels, item.ignore, strict=True)
            if not ignored and label not in class_names[1:]
        }
    )
    if unknown:
        raise TrainingDataInvalid(f"{item.file}: {unknown} not in {list(class_names[1:])}")
    boxes = np.array(item.boxes_xyxy, np.float32).reshape(-1, 4)
    try:
        require_valid_boxes(boxes, item.width_px, item.height_px, item.file)
    except CurationError as error:
        raise TrainingDataInvalid(str(error)) from error


class TrainingSet:
    """Items of a manifest, warped to the network input and kept in memory up to a limit.

    Ignored boxes are no positives, and default boxes that lie in them are no negatives.

    Args:
        manifest: what to train on.
        image_root: folder that the items' files are relative to.
        size_hw: of the network input.
        class_names: K names, background first.
        cache_bytes: of decoded images; beyond it images are decoded again each time.
        limits: of the images that are read.
    """

    def __init__(
        self,
        manifest: Manifest,
        image_root: Path,
        size_hw: tuple[int, int],
        class_names: Sequence[str],
        cache_bytes: int,
        limits: ImageLimits = ImageLimits(),
    ) -> None:
        # Sorted, so that the same manifest in another order gives the same training.
        self.items = sorted(manifest.items, key=lambda item: (item.image, item.file))
        self._root, self._size_hw, self._limits = image_root, size_hw, limits
        self._label = {name: index for index, name in enumerate(class_names)}
        self._capacity = cache_bytes // (3 * size_hw[0] * size_hw[1])
        self._cache: dict[int, torch.Tensor] = {}
        self._targets = [self._target(item) for item in self.items]

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, index: int) -> Sample:
        """Pixels uint8 [3, h, w] and target in px of the network input, not augmented.

        Raises:
            TrainingDataInvalid: the image cannot be read; the message names the file.
        """
        pixels = self._cache.get(index)
        if pixels is None:
            pixels = self._decode(self.items[index])
            if len(self._cache) < self._capacity:
                self._cache[index] = pixels
        return pixels, self._targets[index]

    def _decode(self, item: ManifestItem) -> torch.Tensor:
        try:
            return warp(load(self._root / item.file, self._limits), self._size_hw)
        except UNREADABLE as error:
            raise TrainingDataInvalid(f"{item.file}: {error}") from error

    def _target(self, item: ManifestItem) -> Target:
        height, width = self._size_hw
        scale = torch.tensor([width / item.width_px, height / item.height_px] * 2)
        boxes = torch.tensor(item.boxes_xyxy, dtype=torch.float32).reshape(-1, 4) * scale
        ignored = torch.tensor(item.ignore, dtype=torch.bool)
        labels = torch.tensor([self._label.get(name, 0) for name in item.labels], dtype=torch.int64)
        return Target(boxes[~ignored], labels[~ignored], boxes[ignored])


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In the place of a sample whose image cannot be read: it costs itself, not the run.

    Attributes:
        file: of the image.
    """

    file: str


class EpochView(Dataset[Sample | Unreadable]):
    """One epoch's samples in their order; position and epoch decide the augmentation."""

    def __init__(
        self,
        base: TrainingSet,
        order: Sequence[int],
        augment: Augment | None,
        seed: int,
        epoch: int,
    ) -> None:
        self._base, self._order, self._augment = base, order, augment
        self._seed, self._epoch = seed, epoch

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, position: int) -> Sample | Unreadable:
        row = self._order[position]
        try:
            pixels, target = self._base.sample(row)
        except TrainingDataInvalid:
            return Unreadable(self._base.items[row].file)
        if self._augment is None:
            return pixels, target
        key = f"{self._seed} {self._epoch} {position}".encode()
        seed = int.from_bytes(hashlib.sha256(key).digest()[:7], "big")
        return self._augment(pixels, target, seed)


def epoch_order(base: TrainingSet, config: TrainConfig, epoch: int) -> list[int]:
    """Shuffled rows of one epoch; items that a failure asked for come ``boost`` times.

    But for drawn ones, of which a failure may have many. The whole part of ``boost`` repeats every
    such item, the rest is drawn anew each epoch.
    """
    rng = np.random.default_rng([config.seed, epoch])
    boosted = [
        row for row, item in enumerate(base.items) if item.origin is not None and not item.generated
    ]
    whole = int(config.boost)
    extra = boosted * (whole - 1)
    extra += [row for row in boosted if rng.random() < config.boost - whole]
    order = np.array([*range(len(base)), *extra])
    rng.shuffle(order)
    return [int(row) for row in order]


def collate(
    samples: Iterable[Sample | Unreadable],
) -> tuple[torch.Tensor, list[Target], list[str]]:
    """Pixels uint8 [B, 3, h, w], their targets, and the files of images that cannot be read.

    B is 0 where none can.
    """
    given = list(samples)
    read = [one for one in given if not isinstance(one, Unreadable)]
    lost = [one.file for one in given if isinstance(one, Unreadable)]
    if not read:
        return torch.zeros(0, 3, 0, 0, dtype=torch.uint8), [], lost
    pixels, targets = zip(*read, strict=True)
    return torch.stack(pixels), list(targets), lost
