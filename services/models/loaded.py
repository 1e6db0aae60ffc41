"""Models that stay loaded in a worker, found by the rows that name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.config import builders
from services.db.engine import reading
from services.db.tables import Model
from services.models import features
from services.store import model_folders
from services.units.pipeline import StageContext

if TYPE_CHECKING:
    from curation.embedding.embed import RegionEmbedder
    from curation.embedding.encoder import TimmEncoder
    from curation.explain import Explainer
    from retrain.detector import SsdDetector


def detector_of(stage: StageContext, model_id: str) -> SsdDetector:
    """The detector of a registered model."""
    context = stage.context
    with reading(context.sessions) as session:
        folder = session.get_one(Model, model_id).folder

    def load() -> SsdDetector:
        with model_folders.local(context, folder) as path:
            return builders.load_detector(path, context.settings)

    detector: SsdDetector = stage.resident.get(f"detector:{model_id}", load)
    return detector


def encoder_of(stage: StageContext) -> TimmEncoder:
    """What describes regions."""
    settings = stage.context.settings
    encoder: TimmEncoder = stage.resident.get("encoder", lambda: builders.load_encoder(settings))
    return encoder


def embedder_of(stage: StageContext) -> RegionEmbedder:
    """What turns pool images and failures into vectors."""
    settings = stage.context.settings
    embedder: RegionEmbedder = stage.resident.get(
        "embedder", lambda: builders.region_embedder(settings, encoder_of(stage))
    )
    return embedder


def explainer_of(stage: StageContext, model_id: str) -> Explainer:
    """The method that is set; it remembers on which detectors half precision has proven itself.

    Features that were fitted for the model are used by the method that can.

    Raises:
        InvalidRequest: no method has this name, or it takes no such parameter or value.
    """
    context, settings = stage.context, stage.context.settings
    explainer: Explainer = stage.resident.get(
        f"explainer:{settings.explanation.model_dump_json()}", lambda: builders.explainer(settings)
    )
    if explainer.name != features.METHOD:
        return explainer
    with reading(context.sessions) as session:
        model = session.get_one(Model, model_id)
    return features.with_features(context, model, explainer)
