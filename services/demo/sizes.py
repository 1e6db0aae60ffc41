"""How big the demo is, and the settings of its project."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from services.config.settings import PROJECT_FILE


@dataclass(frozen=True, slots=True)
class DemoSize:
    """Numbers of images, the budget and the length of training; the flags of ``e2x demo``.

    Attributes:
        seed_images: labelled start set, without any planted cause.
        pool_images: unlabelled.
        pool_share: share of the pool's images that hold each cause, in 0..1.
        field_frames: frames from use; half hold a cause.
        sibling_frames: the same causes in frames that nobody may train on.
        holdout_images: for the gate.
        budget_boxes: boxes to label a cycle.
        cycles: turns of the loop.
        epochs: of the first detector.
        finetune_epochs: of each retraining.
        num_samples: K of equation 5.
    """

    seed_images: int = 240
    pool_images: int = 700
    pool_share: float = 0.03
    field_frames: int = 72
    sibling_frames: int = 100
    holdout_images: int = 130
    budget_boxes: int = 100
    cycles: int = 2
    epochs: int = 10
    finetune_epochs: int = 3
    num_samples: int = 16

    @property
    def splits(self) -> dict[str, int]:
        """Images of each split of the world."""
        return {
            "seed": self.seed_images,
            "pool": self.pool_images,
            "field": self.field_frames,
            "siblings": self.sibling_frames,
            "holdout": self.holdout_images,
        }

    def to_dict(self) -> dict[str, float]:
        """By name, for the result file."""
        return asdict(self)


PROJECT_TEMPLATE = """\
# Settings of the demo: the street world is small, so that two cores finish it in minutes.
seed = {seed}

[api]
port = 0

[detector]
architecture = "ssdlite_efficientnet_lite0"
input_height_px = 192
input_width_px = 256
min_scale = 0.08
max_scale = 0.8

[training]
epochs = {epochs}
finetune_epochs = {finetune_epochs}
learning_rate = 2e-3
finetune_learning_rate = 5e-4
boost_new = 3.0

[explanation]
method = "e2x"
num_samples = {num_samples}
# The demo shows the whole loop, whatever a quickly trained detector finds.
min_recall = 0

[selection]
budget_boxes = {budget_boxes}
encoder_height_px = 192
encoder_width_px = 256

[synthesis]
# What the pool has nothing for is drawn: a few samples of the larger modes, in seconds. To train
# without them as well, as a project does by default, would take another minute a cycle.
enabled = true
modes = "lacking"
least_failures = 3
failures_mode = 2
budget_images = 12
candidates = 2
ablation = "never"

[gate]
# The holdout has some 300 objects and the field some 50 failures: a single one weighs more than
# the default bounds, which are for large sets, allow.
max_map_drop = 0.02
max_class_drop = 0.05
max_negative_flips = 0.04
max_reopened = 0.12
"""


def write_settings(folder: Path, size: DemoSize, seed: int) -> None:
    """The demo project's ``e2x.toml``."""
    folder.mkdir(parents=True, exist_ok=True)
    text = PROJECT_TEMPLATE.format(
        seed=seed,
        epochs=size.epochs,
        finetune_epochs=size.finetune_epochs,
        num_samples=size.num_samples,
        budget_boxes=size.budget_boxes,
    )
    (folder / PROJECT_FILE).write_text(text)
