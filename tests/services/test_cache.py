"""Copies of objects on this machine: bounded, whole, and there for as long as they are used."""

from __future__ import annotations

import mmap
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.store.cache import Cache, Fill

SIZE = 2**16
LIMIT = 16 * SIZE


class Source:
    """What is copied, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def of(self, key: str) -> Fill:
        def fill(file: Path) -> None:
            self.asked.append(key)
            file.write_bytes(key.encode().ljust(SIZE, b"."))

        return fill


@pytest.fixture
def source() -> Source:
    return Source()


def copies(folder: Path) -> dict[str, Path]:
    return {p.name: p for p in (folder / "objects").rglob("*") if p.is_file()}


def test_an_object_is_fetched_once(tmp_path: Path, source: Source) -> None:
    cache = Cache(tmp_path, LIMIT)

    first, second = (cache.read("images/a", source.of("images/a")) for _ in range(2))

    assert first == second
    assert first.startswith(b"images/a.")
    assert source.asked == ["images/a"]


def test_what_was_used_last_stays_within_the_bound(tmp_path: Path, source: Source) -> None:
    caches = [Cache(tmp_path, LIMIT) for _ in range(2)]  # as of two processes
    for number in range(60):
        key = f"{number:02}"
        caches[number % 2].read(key, source.of(key))
        caches[0].read("00", source.of("00"))  # all the time
        for path in copies(tmp_path).values():  # so that the order does not hang on a clock
            os.utime(path, ns=(0, int(path.stat().st_mtime_ns) - 10**9))
        os.utime(tmp_path / "objects" / "00")

    found = copies(tmp_path)
    assert sum(path.stat().st_size for path in found.values()) <= LIMIT + 2 * SIZE
    assert len(found) >= 12
    assert {"00", "59", "58", "57"} <= found.keys()
    assert source.asked.count("00") == 1


def test_what_is_in_use_stays_readable_however_full_it_gets(tmp_path: Path, source: Source) -> None:
    cache = Cache(tmp_path, LIMIT)
    with cache.borrowed() as folder:
        cache.lend("used", source.of("used"), folder / "used")
        with (folder / "used").open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        for number in range(40):
            cache.read(str(number), source.of(str(number)))
        assert (folder / "used").read_bytes().startswith(b"used")
    cache.drop("used")

    assert mapped[:4] == b"used"
    assert not folder.exists()


def test_a_failed_fetch_leaves_no_copy(tmp_path: Path, source: Source) -> None:
    cache = Cache(tmp_path, LIMIT)

    def breaks(file: Path) -> None:
        file.write_bytes(b"half")
        raise ConnectionError("cut off")

    with pytest.raises(ConnectionError):
        cache.read("a", breaks)

    def lost(file: Path) -> None:
        raise FileNotFoundError(file)

    with pytest.raises(FileNotFoundError):
        cache.read("a", lost)
    assert copies(tmp_path) == {}
    assert cache.read("a", source.of("a")).startswith(b"a.")


def test_many_at_once_read_what_others_push_out(tmp_path: Path, source: Source) -> None:
    caches = [Cache(tmp_path, 4 * SIZE) for _ in range(4)]
    begin = threading.Barrier(4)

    def read(cache: Cache) -> None:
        begin.wait()
        for turn in range(40):
            key = str(turn % 10)
            assert cache.read(key, source.of(key)).startswith(key.encode() + b".")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, caches))


def test_a_copy_that_goes_while_it_is_counted_is_fetched_again(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may remove it between any two looks at it."""
    cache = Cache(tmp_path, LIMIT)
    look = Path.stat

    def looked_at_and_removed(path: Path, **how: bool) -> os.stat_result:
        found = look(path, **how)
        if path.name == "a" and len(source.asked) == 1:
            path.unlink()
        return found

    monkeypatch.setattr(Path, "stat", looked_at_and_removed)
    assert cache.read("a", source.of("a")).startswith(b"a.")
    assert source.asked == ["a", "a"]
