"""JSON in UTF-16, as programs of Windows save it, is read at every door that takes a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import bad_images
from tests.services.commands import CommandLine
from tests.services.datasets_on_disk import pictures, write_coco
from tests.services.label_queue import answered
from tests.services.test_labels_cli import asked as asked

ENCODINGS = pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])


def again(file: Path, encoding: str) -> None:
    """Save a file as another program would."""
    file.write_bytes(file.read_text(encoding="utf-8").encode(encoding))


@ENCODINGS
@pytest.mark.parametrize("named", ["folder", "file"])
def test_import(line: CommandLine, tmp_path: Path, encoding: str, named: str) -> None:
    source = write_coco(tmp_path / "set", pictures(1, 2))
    again(source / "annotations.json", encoding)
    what = source if named == "folder" else source / "annotations.json"
    assert "2 images added" in line.done("import", what, "--role", "seed").out


@ENCODINGS
def test_labels_import(asked: CommandLine, tmp_path: Path, encoding: str) -> None:
    out = tmp_path / "tasks"
    asked.done("labels", "export", "--out", out)
    file = out / "annotations.json"
    file.write_text(json.dumps(answered(json.loads(file.read_text()))))
    again(file, encoding)
    assert "2 tasks answered" in asked.done("labels", "import", out).out


@ENCODINGS
def test_sidecars_and_annotations_of_frames(
    champion: CommandLine, tmp_path: Path, encoding: str
) -> None:
    frame = tmp_path / "f.png"
    frame.write_bytes(bad_images.png(7))
    frame.with_suffix(".json").write_text('{"objects": []}')
    again(frame.with_suffix(".json"), encoding)
    assert "1 frames taken in, 0 refused" in champion.done("ingest", frame).out
    car = {"bbox": [2, 3, 10, 8], "category_id": 1}
    source = write_coco(tmp_path / "set", pictures(1), [car])
    again(source / "annotations.json", encoding)
    ran = champion.done("ingest", source / "images", "--annotations", source)
    assert "1 frames taken in, 0 refused" in ran.out


def test_another_encoding_is_refused_with_what_to_do(line: CommandLine, tmp_path: Path) -> None:
    source = write_coco(tmp_path / "set", pictures(1))
    file = source / "annotations.json"
    file.write_bytes(file.read_text().replace('"car"', '"v\u00e9lo"').encode("cp1252"))
    assert "not text in UTF-8" in line.refused("import", source, "--role", "seed")
    assert "save it as UTF-8" in line.refused("labels", "import", file)
