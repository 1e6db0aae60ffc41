"""The curve of a training: on the terminal, on the model's page and in the report."""

from __future__ import annotations

from typing import Any

from services.cli.curve import curve_lines, sparkline
from services.report.curve import HEIGHT, MARGIN, WIDTH, curve_of
from tests.services.builders import add_champion
from tests.services.commands import CommandLine

LOOKS = [(50, 9.0, 0.02), (100, 5.0, 0.3), (150, 3.0, 0.6), (195, 2.0, None)]
HISTORY: dict[str, Any] = {
    "ended": "patience",
    "steps": 195,
    "cooled_from": 150,
    "validation_images": 10,
    "validation_objects": 31,
    "note": "",
    "looks": [{"step": s, "loss": loss, "ap50": ap50} for s, loss, ap50 in LOOKS],
}


def test_lines_say_how_long_why_and_how_it_went() -> None:
    said, loss, measured = curve_lines(HISTORY)
    assert said.startswith("trained 195 steps: no further gain on 10 images with 31 objects")
    assert "from step 150 on the rate fell" in said
    assert "9.00 █▄▂▁ 2.00" in loss
    assert "0.020 ▁▄█ 0.600" in measured
    assert curve_lines(None) == []
    alone = HISTORY | {"ended": "alone", "note": "6 images are too few", "looks": []}
    assert curve_lines(alone) == ["trained 195 steps: 6 images are too few"]
    assert "still gaining" in curve_lines(HISTORY | {"ended": "bound"})[0]


def test_a_long_curve_is_drawn_from_end_to_end() -> None:
    drawn = sparkline([float(n) for n in range(500)])
    assert len(drawn) == 40
    assert (drawn[0], drawn[-1]) == ("▁", "█")
    assert sparkline([1.0, 1.0]) == "▁▁"


def test_points_lie_in_the_picture_with_good_above() -> None:
    curve = curve_of("Model 1", HISTORY)
    assert curve is not None
    assert [x for x, _ in curve.loss] == sorted(x for x, _ in curve.loss)
    assert curve.loss[0][1] < curve.loss[-1][1]
    assert curve.ap50[0][1] > curve.ap50[-1][1]
    assert curve.cooled_x == curve.ap50[-1][0]
    for x, y in [*curve.loss, *curve.ap50]:
        assert MARGIN <= x <= WIDTH - MARGIN
        assert MARGIN <= y <= HEIGHT - MARGIN
    assert curve_of("Model 1", None) is None
    assert curve_of("Model 1", HISTORY | {"looks": HISTORY["looks"][:1]}) is None


def test_command_and_report_show_it(line: CommandLine) -> None:
    with line.opened() as context, context.sessions.begin() as session:
        add_champion(session).training = {"history": HISTORY}
    assert "9.00 █▄▂▁ 2.00" in line.done("models", "show", "1").out
    line.done("report", "--out", line.root / "report.html")
    page = (line.root / "report.html").read_text()
    assert "How it was trained" in page
    assert page.count("<polyline") == 2
    assert "AP50 of the validation share 0.020 to 0.600" in page
