"""The picture of figure 2: correlation against detections a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

TITLES = {
    "rho_lime": "LIME reference, 1000 superpixels",
    "rho_lime_truncated": "the same, 100 strongest kept",
    "rho_pda": "PDA reference",
}
Row = dict[str, Any]
STYLES = {"gp_shap": "o-", "e2x": "s-", "lime": "^-", "ig": "x", "ig_sx": "+", "pda": "d-"}


def draw(table: Sequence[Row], path: Path) -> None:
    """Write the plot: a row of panels for each number of superpixels, a column a reference.

    Methods of one name are joined in the order of their speed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "figure2"
    from matplotlib import pyplot

    numbers = sorted({row["asked"] for row in table})
    shown = [key for key in TITLES if any(key in row for row in table)]
    figure, axes = pyplot.subplots(
        len(numbers),
        len(shown),
        figsize=(4.2 * len(shown), 3.6 * len(numbers)),
        squeeze=False,
    )
    for panels, asked in zip(axes, numbers, strict=True):
        for axis, key in zip(panels, shown, strict=True):
            rows = [row for row in table if row["asked"] == asked and key in row]
            if not rows:  # a reference may have been made at one number alone
                axis.set_axis_off()
                continue
            _panel(axis, rows, key)
            axis.set_title(f"{TITLES[key]}; M = {asked}", fontsize=9)
        panels[0].set_ylabel("mean Pearson ρ over pixels")
    for axis in axes[-1]:
        axis.set_xlabel("detections a second, one core")
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _panel(axis: Any, table: Sequence[Row], key: str) -> None:
    """One number of superpixels and one reference, with error bars."""
    for family, style in STYLES.items():
        rows = [row for row in table if row["method"].split()[0] == family]
        rows.sort(key=lambda row: float(row["per_second"]))
        if not rows:
            continue
        speed, means = [row["per_second"] for row in rows], [row[key][0] for row in rows]
        errors = [[_length(row[key], end) for row in rows] for end in (1, 2)]
        axis.errorbar(speed, means, yerr=errors, fmt=style, label=family, capsize=2, ms=4)
        for row in rows:
            label = row["method"].split()[1]
            axis.annotate(label, (row["per_second"], row[key][0]), fontsize=6)
    axis.set_xscale("log")
    axis.grid(alpha=0.3)


def _length(interval: list[float | None], end: int) -> float:
    """Of an error bar; none where a single image gives no interval."""
    mean, limit = interval[0], interval[end]
    return 0.0 if mean is None or limit is None else abs(limit - mean)
