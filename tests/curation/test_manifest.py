"""Dataset versions: identity through files, hashes that ignore order, damage that is noticed."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.kernel.errors import ManifestMismatch
from curation.kernel.manifest import Manifest, ManifestItem, diff, leaks
from tests import strategies


def _item(number: int, **values: object) -> ManifestItem:
    fields: dict[str, object] = {
        "image": f"{number:064x}",
        "file": f"00/{number:064x}.png",
        "width_px": 20,
        "height_px": 10,
        "boxes_xyxy": ((1.0, 1.0, 5.0, 5.0),),
        "labels": ("car",),
        "ignore": (False,),
    }
    return ManifestItem(**{**fields, **values})  # type: ignore[arg-type]


@settings(deadline=None)
@given(strategies.manifests())
def test_what_is_written_is_what_is_read(manifest: Manifest) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = manifest.write(Path(folder))
        stored = Manifest.read(path)

    assert path.stem == manifest.version == stored.version
    assert sorted(stored.items, key=lambda item: item.image) == sorted(
        manifest.items, key=lambda item: item.image
    )
    assert (stored.class_names, stored.parent) == (manifest.class_names, manifest.parent)


@given(strategies.manifests(), st.randoms())
def test_the_order_of_the_items_does_not_matter(manifest: Manifest, random) -> None:
    items = list(manifest.items)
    random.shuffle(items)

    assert replace(manifest, items=tuple(items)).version == manifest.version


def test_whole_numbers_and_floats_are_the_same_boxes() -> None:
    whole = _item(1, boxes_xyxy=((1, 1, 5, 5),))

    assert Manifest(("background",), (whole,)).version == (
        Manifest(("background",), (_item(1),)).version
    )


@pytest.mark.parametrize(
    "change",
    [
        {"boxes_xyxy": ((1.0, 1.0, 5.0, 5.25),)},
        {"labels": ("bus",)},
        {"ignore": (True,)},
        {"revision": 2},
        {"origin": "failure"},
    ],
)
def test_every_change_makes_another_version(change: dict[str, object]) -> None:
    before = Manifest(("background", "car"), (_item(1),))

    assert Manifest(("background", "car"), (_item(1, **change),)).version != before.version


def test_a_damaged_file_is_noticed(tmp_path: Path) -> None:
    path = Manifest(("background", "car"), (_item(1),)).write(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"car", b"cat"))

    with pytest.raises(ManifestMismatch, match="does not have this hash"):
        Manifest.read(path)


def test_bytes_that_are_no_text_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / f"{0:064x}.jsonl"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ManifestMismatch):
        Manifest.read(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "not JSON", '{"format": 1, "parent": null}'])
def test_a_file_that_is_no_manifest_is_refused_under_its_own_hash(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / f"{hashlib.sha256(text.encode()).hexdigest()}.jsonl"
    path.write_text(text)

    with pytest.raises(ManifestMismatch, match="not a manifest"):
        Manifest.read(path)


def test_an_image_is_in_a_manifest_once() -> None:
    with pytest.raises(ManifestMismatch, match="twice"):
        Manifest(("background",), (_item(1), _item(1)))


def test_a_label_without_a_box_is_refused() -> None:
    with pytest.raises(ManifestMismatch, match="1 boxes, 2 labels"):
        _item(1, labels=("car", "bus"))


def test_a_difference_names_what_came_went_and_changed() -> None:
    old = Manifest(("background",), (_item(1), _item(2), _item(3)))
    new = Manifest(("background",), (_item(2, labels=("bus",)), _item(3, revision=2), _item(4)))

    changes = diff(old, new)

    assert changes.added == (f"{4:064x}",)
    assert changes.removed == (f"{1:064x}",)
    assert changes.relabelled == (f"{2:064x}",)


def test_leaks_are_the_images_on_both_sides() -> None:
    train = Manifest(("background",), (_item(1), _item(2)))
    holdout = Manifest(("background",), (_item(2), _item(3)))

    assert leaks(train, holdout) == {f"{2:064x}"}


def test_a_class_that_the_detector_lacks_is_ignored() -> None:
    boxes = ((1.0, 1.0, 5.0, 5.0), (2.0, 2.0, 6.0, 6.0))
    item = _item(1, boxes_xyxy=boxes, labels=("car", "boat"), ignore=(False, False))

    truth = item.truth(("background", "bus", "car"))

    assert truth.labels.tolist()[0] == 2
    assert truth.ignore.tolist() == [False, True]
    np.testing.assert_array_equal(truth.boxes_xyxy, np.array(boxes, np.float32))


def test_who_drew_an_image_is_part_of_the_version_and_older_versions_keep_their_names(
    tmp_path: Path,
) -> None:
    real, drawn = _item(1), _item(1, generated="compose:1")
    plain, other = (Manifest(("background", "car"), (one,)) for one in (real, drawn))
    assert b"generated" not in plain.write(tmp_path).read_bytes()
    assert plain.version != other.version
    assert Manifest.read(other.write(tmp_path)).items == (drawn,)
    assert Manifest.read(plain.write(tmp_path)).items == (real,)
