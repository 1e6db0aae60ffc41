"""Images embedded a second, beside the encoder's bare pass."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.speed.scene import Clock, Row, Scene
from curation.embedding.embed import RegionEmbedder
from curation.embedding.encoder import TimmEncoder
from curation.kernel.types import FloatArray

IMAGES = 16


def measure(scene: Scene, clock: Clock, rounds: int, device: str) -> tuple[Row, FloatArray]:
    """A row of the table, and the share of the bare pass's speed in each round.

    The bare pass has its inputs ready in the batch that the encoder takes on the device.
    """
    encoder = TimmEncoder(device=device)
    embedder = RegionEmbedder(encoder)
    images = [np.roll(scene.image, 7 * row, axis=1) for row in range(IMAGES)]
    rows = encoder._batch_size
    inputs = torch.cat([encoder._warp(image) for image in images[:rows]])

    @torch.inference_mode()
    def bare() -> None:
        for _ in range(IMAGES // rows):
            encoder._model(inputs)

    seconds = clock.rounds({"bare": bare, "embed": lambda: embedder.embed_pool(images)}, rounds)
    share = seconds["bare"] / seconds["embed"]
    return {
        "images_per_s": IMAGES / float(np.median(seconds["embed"])),
        "bare_images_per_s": IMAGES / float(np.median(seconds["bare"])),
        "share_of_bare": float(np.median(share)),
    }, share
