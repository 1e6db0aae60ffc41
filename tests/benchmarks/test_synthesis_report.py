"""Bars of reproduction: what counts, what is paired, and what the intervals are over."""

import pytest

from benchmarks.synthesis import report
from benchmarks.synthesis.reproduction import FOREIGN, OWN


def row(frame, recipe, own, foreign=0.9, before=0.9, cause="brick", known="a#0"):
    return {
        **{"miss": f"{frame}#0", "cause": cause, "known": known, "recipe": recipe},
        **{"share": 0.1, "before": before, OWN: own, FOREIGN: foreign},
    }


def test_missed_or_much_less_sure_counts_as_reproduced():
    assert report.reproduced(row("f", "r", own=0.49, before=0.55), OWN)
    assert report.reproduced(row("f", "r", own=0.6, before=0.9), OWN)
    assert not report.reproduced(row("f", "r", own=0.61, before=0.9), OWN)


def test_objects_that_were_not_found_do_not_count():
    rows = [row("f", "r", own=0.1, before=0.4), row("g", "r", own=0.1)]
    (line,) = report.table(rows)
    assert line["pairs"] == 1


def test_reproduction_is_paired_with_its_control():
    rows = [row(f"f{n}", "transplant", 0.1 if n % 2 else 0.9) for n in range(40)]
    rows += [row(f"f{n}", "random", 0.9) for n in range(40)]
    (line, _) = report.table(rows)
    assert line["all"][OWN][0] == pytest.approx(0.5)
    assert line["all"]["minus_foreign"][0] == pytest.approx(0.5)
    bars = report.reached(rows, "transplant")
    assert bars["G2"]["met"]
    assert bars["G2_certain"]["met"]
    assert bars["G2_brick"]["value"] == pytest.approx(0.5)
    assert bars["G4_above_random"]["met"]
    assert bars["G4_above_random_at_all"]["low"] > 0.3
    assert bars["G4_above_whole_2"]["value"] is None
    assert not bars["G4_above_whole_2"]["met"]


def test_a_control_that_fails_as_often_meets_nothing():
    rows = [row(f"f{n}", "transplant", own=0.1, foreign=0.1) for n in range(20)]
    bars = report.reached(rows, "transplant")
    assert bars["G2"]["value"] == 0
    assert not bars["G2"]["met"]


def test_known_objects_of_one_frame_are_one_draw():
    alone = [row(f"f{n}", "r", own=0.1 if n < 10 else 0.9) for n in range(20)]
    many = [row(f"f{n % 2}", "r", own=0.1 if n % 2 else 0.9, known=f"k{n}#0") for n in range(20)]
    apart = [report.interval(report.shares(rows, "r", OWN)) for rows in (alone, many)]
    assert apart[0][0] == apart[1][0] == 0.5
    assert apart[1][2] - apart[1][1] > apart[0][2] - apart[0][1]


def test_the_table_is_told_with_its_controls():
    told = []
    report.show(report.table([row("f", "r", own=0.1)]), told.append)
    assert told[0] == "| recipe | share | all | brick |"
    assert "other 0.00" in told[2]
