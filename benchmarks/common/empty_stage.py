"""A stage that does nothing: what a unit costs besides its own work.

Workers load it by ``E2X_EXTRA_STAGES``, those of an older tree too: it needs nothing of this one.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from services.units import Claim
from services.units.pipeline import Stage, StageContext, Store, register


def run(_stage: StageContext, _claim: Claim) -> Store:
    """Nothing."""

    def store(_session: Session) -> dict[str, Any]:
        return {}

    return store


register(Stage("empty", "explain", f"{__name__}:run"))
