"""The detectors of the registry, for pictures before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from curation.kernel.types import Detections, ImageArray
from services.context import Context
from services.db.engine import reading
from services.db.tables import Model
from services.store import model_folders

if TYPE_CHECKING:
    from retrain.detector import SsdDetector

Predict: TypeAlias = Callable[[str, Sequence[ImageArray]], list[Detections]]
"""Detections of a registered model, by its id, in each image; down to a low score."""


def predictor(context: Context) -> Predict:
    """A function that runs any registered model; each is loaded once, on first use."""
    loaded: dict[str, SsdDetector] = {}

    def predict(model_id: str, images: Sequence[ImageArray]) -> list[Detections]:
        if model_id not in loaded:
            from services.config import builders  # loads PyTorch

            with reading(context.sessions) as session:
                folder = session.get_one(Model, model_id).folder
            with model_folders.local(context, folder) as path:
                loaded[model_id] = builders.load_detector(path, context.settings)
        return loaded[model_id].predict(images)

    return predict
