"""Objects by key: the same of a folder and of a bucket of a real S3 server."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.common.buckets import Seaweed
from services.config.setting_groups import StorageSettings
from services.errors import InvalidRequest
from services.store.objects import (
    ObjectChanged,
    ObjectExists,
    ObjectLost,
    Objects,
    open_objects,
    walk,
)

LARGE = 20 * 2**20
"""More than one piece, and than one part of an upload."""


@pytest.fixture(params=["folder", "bucket"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "folder":
        return open_objects(StorageSettings(), tmp_path)
    server: Seaweed = request.getfixturevalue("seaweed")
    return open_objects(StorageSettings(**server.settings()), tmp_path)


def test_what_was_put_is_there_until_it_is_deleted(objects: Objects) -> None:
    objects.put("images/3f/3f00.jpg", b"first")
    etag = objects.put("images/3f/3f00.jpg", b"second")

    data, entry = objects.get("images/3f/3f00.jpg")
    assert data == b"second"
    assert (entry.key, entry.size, entry.etag) == ("images/3f/3f00.jpg", 6, etag)
    assert objects.head("images/3f/3f00.jpg") == entry

    objects.delete("images/3f/3f00.jpg")
    objects.delete("images/3f/3f00.jpg")
    assert objects.head("images/3f/3f00.jpg") is None


def test_an_empty_object_is_one(objects: Objects, tmp_path: Path) -> None:
    objects.put("empty", b"")

    assert objects.get("empty")[0] == b""
    assert objects.get_range("empty", 0, 5) == b""
    objects.fetch("empty", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b""


def test_a_range_ends_where_the_object_does(objects: Objects) -> None:
    objects.put("a", b"0123456789")

    assert objects.get_range("a", 2, 3) == b"234"
    assert objects.get_range("a", 8, 30) == b"89"
    assert objects.get_range("a", 10, 1) == b""
    assert objects.get_range("a", 30, 1) == b""


@pytest.mark.parametrize(
    "read",
    [
        lambda objects, _folder: objects.get("runs/none"),
        lambda objects, _folder: objects.get_range("runs/none", 0, 1),
        lambda objects, folder: objects.fetch("runs/none", folder / "copy"),
        lambda objects, _folder: objects.get("runs"),
    ],
    ids=["get", "range", "fetch", "a folder"],
)
def test_what_is_lost_is_told_with_its_name(
    objects: Objects, tmp_path: Path, read: Callable[[Objects, Path], object]
) -> None:
    objects.put("runs/1/some", b"")

    with pytest.raises(ObjectLost) as lost:
        read(objects, tmp_path)

    assert isinstance(lost.value, FileNotFoundError)
    assert str(lost.value.filename).startswith("runs")
    assert objects.name in str(lost.value)


def test_a_large_file_comes_and_goes_in_pieces(objects: Objects, tmp_path: Path) -> None:
    data = secrets.token_bytes(LARGE)
    (tmp_path / "large").write_bytes(data)

    objects.put("models/1/weights", tmp_path / "large")
    entry = objects.fetch("models/1/weights", tmp_path / "copy")

    assert entry.size == LARGE
    assert (tmp_path / "copy").read_bytes() == data
    assert objects.get("models/1/weights")[0] == data
    assert objects.get_range("models/1/weights", LARGE - 3, 9) == data[-3:]


def test_a_key_is_created_once_and_by_one(objects: Objects) -> None:
    def create(number: int) -> bool:
        try:
            objects.create("lock", str(number).encode())
        except ObjectExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))

    assert sum(won) == 1
    assert objects.get("lock")[0] == str(won.index(True)).encode()


def test_of_two_changes_at_once_none_is_lost(objects: Objects) -> None:
    objects.create("counter", b"00")

    def add(_: int) -> None:
        while True:
            data, entry = objects.get("counter")
            try:
                objects.swap("counter", f"{int(data) + 1:02d}".encode(), entry.etag)
            except ObjectChanged:
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(24)))

    assert objects.get("counter")[0] == b"24"


def test_a_swap_of_what_is_gone_is_refused(objects: Objects) -> None:
    etag = objects.create("pointer", b"1")
    objects.delete("pointer")

    with pytest.raises(ObjectChanged, match="pointer"):
        objects.swap("pointer", b"2", etag)

    assert objects.head("pointer") is None


KEYS = ["a-1", "a/1", "a/10", "a/2", "a/b/1", "a.b/1", "aa/1", "b", "images/0/x.jpg"]


@pytest.mark.parametrize("most", [1, 2, 1000])
def test_pages_hold_each_key_once(objects: Objects, most: int) -> None:
    for key in KEYS:
        objects.put(key, key.encode())
    found: list[str] = []

    while page := objects.page("", found[-1] if found else "", most):
        assert len(page) <= most
        found += [entry.key for entry in page]

    assert sorted(found) == sorted(KEYS)  # SeaweedFS has an order of its own
    assert found == [entry.key for entry in walk(objects)]
    assert all(entry.size == len(entry.key) for entry in walk(objects))


def test_a_folder_is_listed_without_its_namesakes(objects: Objects) -> None:
    for key in KEYS:
        objects.put(key, b"")

    assert [entry.key for entry in walk(objects, "a")] == ["a/1", "a/10", "a/2", "a/b/1"]
    assert [entry.key for entry in walk(objects, "a/b")] == ["a/b/1"]
    assert [entry.key for entry in walk(objects, "a", "a/10")] == ["a/2", "a/b/1"]
    assert list(walk(objects, "none")) == []


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a/.b", "a\\b", "a\n", "ü", "a" * 901]
)
def test_a_name_that_some_store_would_bend_is_refused(objects: Objects, key: str) -> None:
    with pytest.raises(InvalidRequest, match="no key of an object"):
        objects.put(key, b"")


KILLED = """
import os, signal, sys, threading
from pathlib import Path
from services.config.setting_groups import StorageSettings
from services.store.objects import open_objects
objects = open_objects(StorageSettings.model_validate_json(sys.argv[1]), Path(sys.argv[2]))
objects.head("any")
print("begun", flush=True)
while True:
    objects.put("models/1/weights", Path(sys.argv[3]))
"""


def test_what_a_killed_process_was_writing_is_whole_or_not_there(
    objects: Objects, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "weights").write_bytes(bytes(LARGE))
    settings: dict[str, object] = {}
    if objects.root is None:
        server: Seaweed = request.getfixturevalue("seaweed")
        settings = server.settings(objects.name.removeprefix("s3://e2x/"))
    root = str(objects.root or tmp_path)
    command = [sys.executable, "-c", KILLED, json.dumps(settings), root, str(tmp_path / "weights")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ})
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.kill()
    process.wait()

    entry = objects.head("models/1/weights")
    assert entry is None or entry.size == LARGE
    assert [one.key for one in walk(objects, "models")] == ([entry.key] if entry else [])
