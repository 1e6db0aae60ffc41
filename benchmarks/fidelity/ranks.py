"""Order and sign of the superpixels that matter: the bars of what decisions rest on."""

from __future__ import annotations

import numpy as np

from benchmarks.fidelity import methods, report
from benchmarks.fidelity.references import ASKED, COSTS, OTHER_ASKED, OTHER_COST

FINE = OTHER_ASKED[-1]
"""Superpixels asked for where there are most."""
MANY, MOST_PASSES = 4, 64.0
"""Detections of an image among which passes are shared, and what one of them may then take."""


def bars(rows: report.Rows) -> dict[str, report.Row]:
    """From rows of converged references: at the fewest passes, and of the most superpixels.

    Superpixels matter whose converged value exceeds twice its own error. What the same figure is
    over all superpixels stands beside each.
    """
    ours = [row for row in rows if row["method"] == methods.OURS]
    few = [row for row in ours if row["asked"] == ASKED and row["cost"] == COSTS[0]]
    fine = [row for row in ours if row["asked"] == FINE and row["cost"] == OTHER_COST]
    found: dict[str, report.Row] = {}
    for name, group, value, beside, least in (
        ("spearman_matter", few, "spearman_matter", "spearman", 0.9),
        ("sign_top_negative", few, "sign_matter", "sign", 0.85),
        (f"rho_fine_{OTHER_COST}", fine, "rho", "spearman_matter", 0.96),
    ):
        interval = report.mean(group, value)
        if not np.isnan(interval.mean):
            entry = report.bar(interval, least, interval.mean >= least)
            entry |= {"detections": len(group), beside: report.cell(report.mean(group, beside))}
            found[name] = entry
    return found | _passes(few)


def _passes(rows: report.Rows) -> dict[str, report.Row]:
    """Passes of a detection in images that share them among four or more."""
    together = report.by(rows, "image")
    shared = [
        row | {"passes_each": row["passes"] / len(group)}
        for group in together.values()
        if len(group) >= MANY
        for row in group
    ]
    if not shared:
        return {}
    interval = report.mean(shared, "passes_each")
    entry = report.bar(interval, MOST_PASSES, interval.mean <= MOST_PASSES)
    return {"passes_of_many": entry | {"detections": len(shared)}}
