"""A box in which nothing can be seen is one at every door, whatever each does with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from curation import formats
from curation.kernel.errors import InvalidBoxes
from services.intake.objects import clean_objects

SIZE_WH = (96, 64)


@pytest.mark.parametrize("side", [0.25, 0.96875, 1.0, 1.03125])
@pytest.mark.parametrize("upright", [True, False])
def test_what_a_file_makes_an_ignore_region_is_refused_in_one_frame(
    tmp_path: Path, side: float, upright: bool
) -> None:
    width, height = (side, 30.0) if upright else (30.0, side)
    Image.new("RGB", SIZE_WH).save(tmp_path / "f.png")
    whole = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [40, 10, 30, 30]}
    thin = {"id": 2, "image_id": 1, "category_id": 1, "bbox": [10, 10, width, height]}
    picture = {"id": 1, "file_name": "f.png", "width": SIZE_WH[0], "height": SIZE_WH[1]}
    document = {
        "images": [picture],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [whole, thin],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    (item,) = formats.load(tmp_path).items
    entry = {"box": [10, 10, 10 + width, 10 + height], "label": "car"}

    assert list(item.ignore) == [False, side < 1]
    if side < 1:
        with pytest.raises(InvalidBoxes, match=r"narrower than 1 px .* mark it `ignore`"):
            clean_objects([entry], SIZE_WH, ("car",), "f.png", 9)
    else:
        assert not clean_objects([entry], SIZE_WH, ("car",), "f.png", 9)[0]["ignore"]
    assert clean_objects([{**entry, "ignore": True}], SIZE_WH, ("car",), "f.png", 9)
