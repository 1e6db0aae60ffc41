"""The page of a plan, drawn on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.common import console
from services.cli.follow import progress
from services.db.engine import reading
from services.db.parts import in_parts
from services.errors import NotFound
from services.selection import pool_scores
from services.selection.outlook import NO_CHAMPION

if TYPE_CHECKING:
    from services.context import Context


def draw_plan(
    context: Context, out: Path, policy: str | None, budget_boxes: int | None, look: bool
) -> None:
    """Choose as the next cycle would, and write the page of it.

    Nothing else is written but the champion's figures on the holdout, where it has none yet.

    Args:
        context: wiring.
        out: the page.
        policy: None: the setting.
        budget_boxes: None: the setting.
        look: whether the champion looks at pool images that no cycle has shown it.

    Raises:
        NotFound: there is no champion.
        InvalidRequest: no policy has this name.
    """
    from services.config import builders
    from services.models import evaluation, registry
    from services.report import plan, predictor
    from services.selection import planning, plans

    with reading(context.sessions) as session:
        champion = registry.champion(session)
        terms = plans.terms_of(session, context, policy, budget_boxes)
    if champion is None:
        raise NotFound(NO_CHAMPION)
    with console().status("the champion on the holdout"):
        champion = evaluation.measured(context, champion.id)
    scores = pool_scores.known_scores(context, champion)
    embedder = builders.region_embedder(context.settings, builders.load_encoder(context.settings))

    def see(images: Sequence[str]) -> None:
        with progress() as bars:
            task = bars.add_task("the champion looks at the pool", total=len(images), note="")
            told = partial(bars.advance, task)
            for part in in_parts(list(images)):
                scores.add(pool_scores.score(context, champion, part, predictor(context), told))

    console().print("choosing and drawing")
    chosen = planning.make(context, champion, embedder, scores, terms, see if look else None)
    plan.build(context, out, champion, chosen, terms, scores)
