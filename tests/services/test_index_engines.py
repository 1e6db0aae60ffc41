"""A project whose region index is of another engine: the same project, told what it needs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.common.buckets import Seaweed
from benchmarks.common.projects import make_context
from curation.kernel.errors import ShardCorrupt
from services.config.setting_groups import StorageSettings
from services.config.settings import Settings
from services.context import Context
from services.errors import Conflict, InvalidRequest
from services.store import index_engines
from services.store.project_store import store_of
from services.store.region_index import encoders_in, has_index, open_index, width_of
from services.units.resident import Resident
from services.upkeep import backup
from services.upkeep.invariants.index import index
from services.upkeep.invariants.mend import mend
from services.upkeep.move_engine import move_engine
from services.upkeep.move_store import JOURNAL, move, store_at
from tests.index_engines import ENCODER, ENGINES, REGIONS, WIDTH, clustered, fill, in_bucket
from tests.services.mode_loop import ModeLoop

pytest.importorskip("lancedb")
LANCE = {"engine": "lancedb"}


def nobody(_what: str, _done: int, _all: int) -> None:
    pass


def with_engine(context: Context, engine: str) -> Context:
    """The same project with another engine set."""
    chosen = context.settings.index.model_copy(update={"engine": engine})
    settings = context.settings.model_copy(update={"index": chosen})
    return Context(settings, context.project, context.engine, context.sessions)


@pytest.fixture
def lance(tmp_path: Path, sqlite_url: str) -> Iterator[Context]:
    """A project of one host."""
    context = make_context(tmp_path / "project", sqlite_url, index=LANCE)
    yield context
    context.engine.dispose()


@pytest.fixture
def hosts(tmp_path: Path, sqlite_url: str) -> Iterator[tuple[Context, Context]]:
    """Two hosts of one project in a store for both."""
    more: dict[str, Any] = {"storage": {"url": (tmp_path / "store").as_uri()}, "index": LANCE}
    one, two = (make_context(tmp_path / name, sqlite_url, **more) for name in ("one", "two"))
    yield one, two
    one.engine.dispose()
    two.engine.dispose()


def test_hosts_index_select_and_check_by_the_engine_that_is_set(
    hosts: tuple[Context, Context],
) -> None:
    one, two = hosts
    loop = ModeLoop(one, pool=8)
    loop.scan(range(4), {number: number % 2 for number in range(4)})
    loop.reopen(two)
    loop._resident = Resident()  # another host has other processes
    loop.select()
    assert list(index(two, None, nobody)) == []
    assert not list(two.project.index.rglob("*"))  # a host keeps no copy

    # What the check finds is mended from the vectors in the store.
    opened = open_index(one, loop.encoder, loop.width)
    images = opened.images()
    vectors = opened.regions_of(images[0])[0]
    opened.delete(images[0])
    assert any("is not in" in found.found for found in index(two, None, nobody))
    list(mend(two))
    loop._work("index")
    for context in hosts:
        built = open_index(context, loop.encoder, loop.width)
        assert built.images() == images
        assert np.array_equal(built.regions_of(images[0])[0], vectors)

    # A lost index is told, begun anew and built again.
    for entry in store_of(one).walk("index"):
        store_of(one).objects.put(entry.key, b"damaged")
    assert any("damaged" in found.found for found in index(two, None, nobody))
    assert any("put aside" in line or "anew" in line for line in mend(two))
    loop._resident = Resident()
    loop._work("index")
    assert open_index(one, loop.encoder, loop.width).images() == images
    assert list(index(one, None, nobody)) == []


def test_an_index_goes_from_one_engine_to_the_other_and_back(lance: Context) -> None:
    faiss = with_engine(lance, "faiss")
    fill(open_index(faiss, ENCODER, WIDTH), [f"i{n:03d}" for n in range(100)])
    before = open_index(faiss, ENCODER, WIDTH)
    # Nobody begins an empty index beside it.
    assert not has_index(lance, ENCODER)
    with pytest.raises(Conflict, match="e2x index move faiss lancedb"):
        open_index(lance, ENCODER, WIDTH)

    told: list[tuple[int, int]] = []
    put = move_engine(lance, "faiss", "lancedb", lambda _, done, total: told.append((done, total)))
    assert (put.images, put.regions, put.moved) == (100, 100 * REGIONS, 100)
    assert told[-1] == (100, 100)
    after = open_index(lance, ENCODER, WIDTH)
    assert after.images() == before.images()
    assert encoders_in(lance) == [ENCODER]
    assert width_of(lance, ENCODER) == WIDTH
    queries = clustered(4, 3)
    wanted, found = before.search(queries, 5), after.search(queries, 5)
    assert (wanted.images == found.images).all()

    after.delete("i000")
    fill(after, ["new"], seed=9)
    # Again: only what is missing there goes, and what is gone here goes there too.
    put = move_engine(lance, "lancedb", "faiss", nobody)
    assert (put.images, put.moved, put.dropped) == (100, 1, 1)
    assert open_index(faiss, ENCODER, WIDTH).images() == after.images()
    with pytest.raises(Conflict, match="one engine"):
        move_engine(lance, "faiss", "faiss", nobody)


def test_an_index_moves_with_the_files_of_its_project(lance: Context, tmp_path: Path) -> None:
    fill(open_index(lance, ENCODER, WIDTH), [f"i{n:03d}" for n in range(20)])
    images = open_index(lance, ENCODER, WIDTH).images()
    url = (tmp_path / "store").as_uri()
    moved = move(lance, store_at(lance, "project"), store_at(lance, url), nobody)
    assert moved.wrong == []
    (lance.project.state / JOURNAL).unlink()
    storage = lance.settings.storage.model_copy(update={"url": url})
    settings = lance.settings.model_copy(update={"storage": storage})
    there = Context(settings, lance.project, lance.engine, lance.sessions)
    index = open_index(there, ENCODER, WIDTH)
    index.verify()
    assert index.images() == images
    fill(index, ["later"])
    for file in sorted(lance.project.index.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    assert move(there, store_at(there, url), store_at(there, "project"), nobody).wrong == []
    assert open_index(lance, ENCODER, WIDTH).images() == (*images, "later")


@pytest.mark.parametrize("apart", [False, True])
def test_a_backup_holds_the_index(apart: bool, tmp_path: Path, sqlite_url: str) -> None:
    storage = {"url": (tmp_path / "store").as_uri() if apart else ""}
    context = make_context(tmp_path / "project", sqlite_url, index=LANCE, storage=storage)
    fill(open_index(context, ENCODER, WIDTH), [f"i{n:03d}" for n in range(20)])
    images = open_index(context, ENCODER, WIDTH).images()
    backup.make(context, tmp_path / "copy", nobody)
    open_index(context, ENCODER, WIDTH).delete("i000")  # later
    restored = make_context(tmp_path / "copy", sqlite_url, index=LANCE)
    index = open_index(restored, ENCODER, WIDTH)
    index.verify()
    assert index.images() == images
    for wired in (context, restored):
        wired.engine.dispose()


def test_a_missing_library_is_told_with_what_to_do(
    lance: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.cli.doctor_machine import examine

    monkeypatch.setitem(sys.modules, "lancedb", None)
    monkeypatch.delitem(sys.modules, "curation.index.lance_index", raising=False)
    monkeypatch.delitem(sys.modules, "curation.index.lance_table", raising=False)
    with pytest.raises(InvalidRequest, match=r"pip install 'e2x\[lancedb\]'"):
        open_index(lance, ENCODER, WIDTH)
    (found,) = [one for one in examine(lance.settings) if one.what == "index"]
    assert found.state == "fail"
    assert "pip install" in found.advice
    assert not has_index(lance, ENCODER)  # that is seen without it


def test_engines_are_those_that_the_setting_takes(tmp_path: Path) -> None:
    assert tuple(index_engines.names()) == ENGINES
    for name in index_engines.names():
        assert Settings(project=tmp_path, index={"engine": name}).index.engine == name
        assert index_engines.engine_named(name).version()
    with pytest.raises(ValueError, match="engine"):
        Settings(project=tmp_path, index={"engine": "milvus"})
    with pytest.raises(InvalidRequest, match="faiss, lancedb"):
        index_engines.engine_named("milvus")


def writer(engine: str, storage: dict[str, Any], host: Path, first: int) -> subprocess.Popen[str]:
    """A host that adds images, once it is told to; it is ready when this returns."""
    host.mkdir(parents=True)
    where = json.dumps(storage)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.index_engines", engine, where, str(first), "15"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOST": str(host)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("engine", ENGINES)
def test_hosts_on_a_bucket_add_delete_and_search_while_one_is_killed(
    engine: str, seaweed: Seaweed, tmp_path: Path
) -> None:
    storage = seaweed.settings()
    checked = StorageSettings.model_validate(storage)
    here = in_bucket(engine, checked, tmp_path / "here")
    fill(here, [f"i{n:05d}" for n in range(900, 906)])
    lives = writer(engine, storage, tmp_path / "one", 0)
    killed = writer(engine, storage, tmp_path / "two", 100)
    for process in (lives, killed):
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert killed.stdout is not None
    told = [killed.stdout.readline().strip() for _ in range(4)]
    killed.send_signal(signal.SIGKILL)
    told += killed.stdout.read().split()
    deleted: set[str] = set()
    while lives.poll() is None or len(deleted) < 3:
        if len(deleted) < 3:
            name = f"i{900 + len(deleted):05d}"
            assert here.delete(name)
            deleted.add(name)
        hits = here.search(clustered(1, 3), 300)
        found = [name for name in hits.images[0] if name]
        assert not deleted & set(found)
        assert len(found) % REGIONS == 0
    assert lives.returncode == 0
    killed.wait()
    wanted = {f"i{n:05d}" for n in (*range(15), *range(903, 906))} | set(told)
    late = in_bucket(engine, checked, tmp_path / "late")
    for index_ in (here, late):
        there = set(index_.images())
        assert wanted <= there
        assert len(there - wanted) <= 1  # in, and killed before it could say so
        assert not there & deleted
        assert len(index_) == len(there) * REGIONS
        index_.verify()
    here.seal()
    late.verify()
    assert set(late.images()) == there


def test_a_lost_table_is_told(lance: Context) -> None:
    fill(open_index(lance, ENCODER, WIDTH), ["a"])
    (table,) = lance.project.index.glob("*.lancedb/*.lance")
    table.rename(table.with_name("elsewhere"))
    with pytest.raises(ShardCorrupt):
        open_index(lance, ENCODER, WIDTH).images()
