"""Figure 2 in numbers and as a picture, from rows whose answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.fidelity import figure2_report, plot

Row = dict[str, Any]


def rows(method: str, rho: float, seconds: float, alone: float, asked: int = 200) -> list[Row]:
    """Two detections of each of two images."""
    return [
        {
            "image": f"street/{image}",
            "detection": f"{image}/{t}",
            "method": method,
            "asked": asked,
            "seconds": seconds,
            "seconds_alone": alone if asked == 200 else None,
            "rho_lime": rho,
            "rho_lime_truncated": rho / 2,
        }
        for image in ("one", "two")
        for t in range(2)
    ]


def test_the_fastest_setting_that_is_as_near_is_set_against_lime_by_itself() -> None:
    _, entry = figure2_report.tables(
        [
            *rows("lime 500", 0.6, 2.0, 8.0),
            *rows("gp_shap 32", 0.5, 0.05, 0.2),  # faster, but farther
            *rows("gp_shap 64", 0.6, 0.1, 0.4),
            *rows("gp_shap 128", 0.7, 0.2, 0.8),
            *rows("gp_shap 64", 0.9, 1e-6, 1e-6, asked=50),  # of other superpixels: not compared
        ]
    )
    assert entry is not None
    assert entry["method"] == "gp_shap 64"
    assert entry["value"] == pytest.approx(80)
    assert (entry["low"], entry["high"]) == (pytest.approx(80), pytest.approx(80))
    assert entry["ratio_both_shared"] == pytest.approx(20)
    assert entry["ratio_both_alone"] == pytest.approx(20)
    assert entry["met"] is True


def test_where_none_is_as_near_the_nearest_is_told() -> None:
    _, entry = figure2_report.tables(
        [*rows("lime 500", 0.6, 2.0, 8.0), *rows("gp_shap 64", 0.5, 0.1, 0.4)]
    )
    assert entry is not None
    assert entry["met"] is False
    assert "gp_shap 64" in entry["why"]


def test_the_picture_has_a_row_of_panels_for_each_number_of_superpixels(tmp_path: Path) -> None:
    table, _ = figure2_report.tables(
        [
            *rows("lime 500", 0.6, 2.0, 8.0),
            *rows("gp_shap 64", 0.7, 0.1, 0.4),
            *rows("gp_shap 64", 0.5, 0.1, 0.4, asked=50),
        ]
    )
    assert [(row["asked"], row["method"]) for row in table] == [
        (200, "lime 500"),
        (200, "gp_shap 64"),
        (50, "gp_shap 64"),
    ]
    plot.draw(table, tmp_path / "figure2.svg")
    picture = (tmp_path / "figure2.svg").read_text()
    for asked in (50, 200):
        assert picture.count(f"M = {asked} -->") == 2  # both references
    assert "PDA" not in picture
    again = tmp_path / "again.svg"
    plot.draw(table, again)
    assert again.read_text() == picture
