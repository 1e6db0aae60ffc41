"""Bars of pictures alone: cost, equal bytes, labels."""

import numpy as np

from benchmarks.synthesis import pictures


def test_pictures_are_drawn_again_to_the_byte_and_keep_their_objects():
    found = pictures.measure([0], scenes=4, count=3)
    assert set(found) == {"G9", "G9_share", "G11", "G13"}
    assert found["G11"]["value"] == 1.0
    assert found["G9"]["value"] > 0.8
    assert found["G13"]["value"] > 0
    assert np.isfinite([entry["value"] for entry in found.values()]).all()
