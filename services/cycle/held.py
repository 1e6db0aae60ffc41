"""Failures that wait unexplained, and a cycle that would choose by explanations."""

from __future__ import annotations

from sqlalchemy.orm import Session

from services.config.policies import needs_explanations
from services.context import Context
from services.db.tables import Model
from services.errors import Conflict
from services.models import holding


def require(session: Session, context: Context, champion: Model, policy: str | None) -> None:
    """Refuse to choose by explanations that there are none of.

    Args:
        session: the caller's transaction.
        context: wiring.
        champion: whose failures may wait.
        policy: of the cycle; None: the setting.

    Raises:
        Conflict: they are held back, and the policy looks for what hurt.
    """
    name = policy or context.settings.selection.policy
    why = holding.why_held(session, context.settings, champion)
    if why is not None and needs_explanations(context.settings, name):
        count = holding.waiting(session, champion.id)
        raise Conflict(
            f"{why}; {count} wait, and the policy {name} chooses by explanations. A better first "
            "detector (`e2x train --again`) or more labels (`--kind retrain`) come first"
        )
