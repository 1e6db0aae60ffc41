"""Sheets: panels in rows of one width, every word in it, failures as words."""

import numpy as np
import pytest

from curation.draw import sheet
from curation.draw.sheet import Panel
from tests.toy import textured_image

PICTURE = textured_image(0, 120, 60)


def test_panels_wrap_into_rows_of_one_width():
    panels = [Panel(f"method {number}", "score 0.5", PICTURE) for number in range(5)]
    page = sheet.sheet(panels, columns=3, panel_width_px=120)
    assert page.dtype == np.uint8
    assert page.shape[1] == 3 * 120 + 4 * 10
    one_row = sheet.sheet(panels[:3], columns=3, panel_width_px=120)
    assert page.shape[0] == 2 * one_row.shape[0] - 10  # the margin between them is shared
    for left in (10, 140, 270):
        np.testing.assert_array_equal(page[10:70, left : left + 120], PICTURE)
    assert (page[one_row.shape[0] :, 270:390] == 255).all()  # the empty place


def test_a_failure_is_a_panel_of_words_and_the_others_stay():
    broken = Panel("lrp", words="this method looks at the detector's layers, and it has none")
    page = sheet.sheet([Panel("e2x", "", PICTURE), broken], columns=2, panel_width_px=120)
    np.testing.assert_array_equal(page[10:70, 10:130], PICTURE)
    panel = page[10:70, 140:260]
    assert (panel == 244).all(axis=2).mean() > 0.5
    assert (panel < 200).any()


def test_words_break_into_lines_and_the_panel_grows_with_them():
    words = ("a reason with many words " * 12).strip() + " " + "x" * 300
    short = sheet.sheet([Panel("a", words="no")], panel_width_px=150)
    long = sheet.sheet([Panel("a", words=words)], panel_width_px=150)
    assert long.shape[1] == short.shape[1]
    assert long.shape[0] > 2 * short.shape[0]
    captioned = sheet.sheet([Panel("a", "one\ntwo", PICTURE)], panel_width_px=150)
    headed = sheet.sheet([Panel("a", "one\ntwo", PICTURE)], panel_width_px=150, heading="car.jpg")
    assert headed.shape[0] > captioned.shape[0]


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (4, 4), (5, 5), (6, 3), (8, 4), (9, 3), (12, 4), (16, 4)]
)
def test_columns_leave_few_empty_places(count, columns):
    assert sheet.columns_for(count) == columns


def test_sizes_below_one_are_refused():
    with pytest.raises(ValueError, match="panels"):
        sheet.sheet([])
    with pytest.raises(ValueError, match="columns"):
        sheet.sheet([Panel("a")], columns=0)
