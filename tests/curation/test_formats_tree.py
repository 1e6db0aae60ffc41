"""The files of a data set: all below what was named, matched by what they mean, nothing beside."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PurePosixPath

import pytest

from curation.formats.names import name_key, natural_key, readings
from curation.formats.tree import Ambiguous, Tree, image_files
from tests import bad_images


def _picture(path: Path, number: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bad_images.png(number))
    return path


def _found(tree: Tree, name: str, *folders: str) -> str | None:
    path = tree.find(name, folders or ("",))
    return None if path is None else path.relative_to(tree.root).as_posix()


LEFT_BEHIND = (
    *(".Trash-1000/files/a.png", ".thumbnails/a.png", "@eaDir/a.png/THUMB.jpg", "._a.png"),
    *("__MACOSX/a.png", "#recycle/a.png", "$RECYCLE.BIN/a.png", "deep/.cache/a.png"),
)


def test_hidden_folders_and_what_programs_leave_behind_are_passed_over(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.png", *LEFT_BEHIND):
        _picture(tmp_path / name)

    assert [path.name for path in image_files(tmp_path)] == ["a.png", "b.png"]


def test_a_folder_that_is_hidden_itself_is_read_when_it_is_named(tmp_path: Path) -> None:
    _picture(tmp_path / ".hidden" / "a.png")

    assert len(image_files(tmp_path / ".hidden")) == 1


def test_links_are_followed_and_a_ring_of_them_ends(tmp_path: Path) -> None:
    named, elsewhere = tmp_path / "set", tmp_path / "disk"
    _picture(named / "train" / "a.png")
    _picture(elsewhere / "b.png")
    _picture(tmp_path / "blob", 3)
    (named / "val").symlink_to(elsewhere)
    (named / "c.png").symlink_to(tmp_path / "blob")
    (named / "train" / "ring").symlink_to(named)
    (named / "again").symlink_to(named / "train")
    (named / "gone.png").symlink_to(tmp_path / "nothing")

    tree = Tree.below(named)

    names = [path.relative_to(named).as_posix() for path in tree.images()]
    assert names == ["c.png", "train/a.png", "val/b.png"]
    assert [path.name for path in tree.unreadable] == ["gone.png"]
    assert "1 folders or links could not be read: gone.png" in " ".join(tree.unlooked())


def test_the_content_decides_where_a_suffix_says_nothing(tmp_path: Path) -> None:
    jpeg = bad_images.jpeg()
    names = ("a.jfif", "b.mpo", "c.jpe", "d.jpg_large", "e")
    for name in names:
        (tmp_path / name).write_bytes(jpeg)
    for name in ("f.jpg.crdownload", "g.mp4", "h.svg"):
        (tmp_path / name).write_bytes(jpeg if "crdownload" in name else b"no picture")

    tree = Tree.below(tmp_path)

    assert [path.name for path in tree.images()] == list(names)
    (note,) = tree.unlooked()
    assert all(f"1 {suffix}" in note for suffix in (".crdownload", ".mp4", ".svg"))


def test_names_match_in_either_unicode_form_and_case_of_suffix(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "é1")
    _picture(tmp_path / "images" / f"{decomposed}.PNG")
    _picture(tmp_path / "images" / "A.png")

    tree = Tree.below(tmp_path)

    assert tree.find("é1.png", ("images",)) is not None
    assert tree.find("a.png", ("images",)) is None  # capitals of a stem are another name
    assert name_key("é.JPG") == name_key(f"{unicodedata.normalize('NFD', 'é')}.jpg")


@pytest.mark.parametrize(
    "name",
    [
        "images\\f0.png",
        "C:\\data\\set\\images\\f0.png",
        "/home/mia/set/images/f0.png",
        "https://store.example/bucket/f0.png?signature=1",
        "s3://bucket/set/f0.png",
        "/data/local-files/?d=set/images/f0.png",
        "/data/local-files/?d=f0.png",
        "http://label.example/data/local-files/?d=set%2Ff0.png",
        "images/f%30.png",
        "/data/upload/3/0a1b2c3d-f0.png",
        "upload/0a1b2c3d__f0.png",
        "./images/f0.png",
        "../images/f0.png",
    ],
)
def test_what_tools_make_of_a_name_still_finds_the_picture(tmp_path: Path, name: str) -> None:
    _picture(tmp_path / "images" / "f0.png")

    assert _found(Tree.below(tmp_path), name, "images") == "images/f0.png"


def test_a_name_that_looks_like_an_upload_is_believed_first(tmp_path: Path) -> None:
    _picture(tmp_path / "0a1b2c3d-f0.png", 1)
    _picture(tmp_path / "f0.png", 2)

    assert _found(Tree.below(tmp_path), "0a1b2c3d-f0.png") == "0a1b2c3d-f0.png"
    assert list(readings("a/0a1b2c3d-f0.png"))[-1] == PurePosixPath("a/f0.png")


def test_no_name_leads_out_of_what_was_named(tmp_path: Path) -> None:
    _picture(tmp_path / "secret.png")
    named = tmp_path / "set"
    _picture(named / "images" / "a.png")
    tree = Tree.below(named)

    for name in ("../secret.png", "../../secret.png", str(tmp_path / "secret.png")):
        assert tree.find(name, ("images", "")) is None


def test_a_picture_of_another_split_is_not_taken_for_one_of_the_same_name(tmp_path: Path) -> None:
    _picture(tmp_path / "val" / "000.png", 1)
    tree = Tree.below(tmp_path)

    assert tree.find("train/000.png", ("", "images")) is None
    assert _found(tree, "000.png", "train", "images") == "val/000.png"


def test_a_name_that_two_pictures_have_is_refused_unless_they_are_one(tmp_path: Path) -> None:
    _picture(tmp_path / "north" / "000.png", 1)
    _picture(tmp_path / "south" / "000.png", 2)
    _picture(tmp_path / "copy" / "001.png", 3)
    _picture(tmp_path / "again" / "001.png", 3)
    tree = Tree.below(tmp_path)

    with pytest.raises(Ambiguous, match=r"may be north/000.png, south/000.png: name its folder"):
        tree.find("000.png")
    assert _found(tree, "south/000.png") == "south/000.png"
    assert tree.find("001.png") is not None


def test_pictures_of_one_name_are_told_apart_without_comparing_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        _picture(tmp_path / f"drive_{number}" / "image.png", number)
    tree = Tree.below(tmp_path)
    keys: list[Path] = []
    key_of = Tree._key_of
    monkeypatch.setattr(Tree, "_key_of", lambda own, path: keys.append(path) or key_of(own, path))

    found = [_found(tree, f"drive_{number}/image.png") for number in range(30)]

    assert found == [f"drive_{number}/image.png" for number in range(30)]
    assert len(keys) == 60  # once each for the index, and once for the one that fits


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("f_10.png", "f_9.png", "f_9a.png", "b/f_2.png", "b/f_11.png", "f_010.png"):
        _picture(tmp_path / name)

    names = [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)]
    assert names == ["b/f_2.png", "b/f_11.png", "f_9.png", "f_9a.png", "f_010.png", "f_10.png"]
    assert natural_key(PurePosixPath("²")) != natural_key(PurePosixPath("2"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0)

    assert "locked" in " ".join(Tree.below(tmp_path).unlooked())
