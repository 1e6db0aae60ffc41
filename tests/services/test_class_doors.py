"""A class has one name at every door, however a tool writes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curation import formats
from retrain.config import ARCHITECTURES, DetectorConfig
from retrain.errors import ConfigInvalid
from services.cli.explain_targets import _label
from services.errors import InvalidRequest
from services.intake.objects import clean_objects
from tests import bad_images

KNOWN = ("v\u00e9lo", "garde boue", "می‌روم")
WRITTEN = ("ve\u0301lo", "garde\u00a0boue ", "\ufeffمی‌روم")


def test_objects_from_anywhere_get_the_name_that_is_known() -> None:
    entries = [{"box": [1, 2, 30, 40], "label": name} for name in WRITTEN]
    clean = clean_objects(entries, (64, 48), KNOWN, "frame", 100)
    assert tuple(entry["label"] for entry in clean) == KNOWN
    for odd in ("velo", "مىروم", 3, None):
        with pytest.raises(InvalidRequest, match="unknown class"):
            clean_objects([{"box": [1, 2, 30, 40], "label": odd}], (64, 48), KNOWN, "frame", 100)


def test_a_label_on_the_command_line_too() -> None:
    names = ("background", *KNOWN)
    assert [_label(word, names) for word in WRITTEN] == [1, 2, 3]


def test_annotations_and_detectors_keep_and_refuse_the_same(tmp_path: Path) -> None:
    names = (*WRITTEN, "red\x1b[31m", "x\u202ey")
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": number, "bbox": [2, 2, 28, 20]}
            for number in range(len(names))
        ],
    }
    (tmp_path / "a.png").write_bytes(bad_images.png(1))
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    found = formats.load(tmp_path)
    assert found.class_names == KNOWN
    assert found.items[0].labels == KNOWN
    assert len(found.problems) == 2
    for name in names[3:]:
        with pytest.raises(ConfigInvalid, match="take it out"):
            DetectorConfig(ARCHITECTURES[0], ("background", name))
