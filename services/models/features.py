"""Features that were fitted for a model, with the model: which there are, and the method with them.

Kept beside the model, named by what they are, so that a new fit replaces no file; the model's row
names the newest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from services.context import Context
from services.db.tables import Model
from services.store import model_folders
from services.store.project_store import store_of

if TYPE_CHECKING:
    from curation.explain import Explainer

METHOD = "vebi"
KEY = "features"
"""In ``Model.training``."""


def of_model(model: Model) -> Mapping[str, Any] | None:
    """What was fitted for a model, for people; None where nothing was."""
    found: Mapping[str, Any] | None = (model.training or {}).get(KEY)
    return found


def prefix(model: Model, fingerprint: str) -> str:
    """Beginning of the keys of a fit; it is not fetched with the weights."""
    return f"{model.folder}/{model_folders.REPORTS}features-{fingerprint}"


def with_features(context: Context, model: Model, explainer: Explainer) -> Explainer:
    """The explainer, which uses the features of the model, if it is the method that can.

    Others, and one that was given features by a parameter, stay what they are.

    Raises:
        ExplanationFailed: what is kept cannot be read.
        ObjectLost: it is gone.
    """
    told = of_model(model)
    if explainer.name != METHOD or told is None:
        return explainer
    from curation.explain.methods.vebi import Vebi
    from curation.explain.methods.vebi_features import FeatureModel

    if not isinstance(explainer, Vebi) or explainer.model is not None:
        return explainer
    key = str(told["file"])
    return replace(explainer, model=FeatureModel.of_bytes(store_of(context).get(key), key))
