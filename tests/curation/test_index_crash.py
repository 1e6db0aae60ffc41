"""The region index under kill -9, at points of its own choosing and at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common.waiting import PATIENCE
from curation.index import RegionIndex
from curation.index.shards import ShardRules
from tests.curation.test_index import SMALL_SHARDS, WIDTH, clustered, fill, opened

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
COMPACTING = ShardRules(min_regions=60, max_bytes=16, code_rows=60)
CODED_APART = 0.02
"""How far a coded number may be from the exact one; vectors of two seeds are ten times as far."""
DEADLINE_S = 60.0 * PATIENCE

State = dict[str, int]
"""Which seed made the vectors of each image."""


def operations() -> list[tuple[str, list[str], int]]:
    """Additions, deletions, seals, replacements, a compaction."""
    names = [f"i{n:02d}" for n in range(60)]
    return [
        ("add", names[:40], 1),
        ("seal", [], 0),
        ("delete", names[3:4], 0),
        ("add", [*names[40:], names[5]], 2),
        ("seal", [], 0),
        ("add", names[:30], 3),  # replaces: more than a quarter is dead now
        ("seal", [], 0),
        ("delete", names[50:51], 0),
        ("add", ["last"], 4),
    ]


def apply(index: RegionIndex, operation: tuple[str, list[str], int]) -> None:
    kind, names, seed = operation
    if kind == "add":
        fill(index, names, seed=seed)
    elif kind == "delete":
        assert index.delete(names[0])
    else:
        index.seal()


def after(count: int) -> State:
    """What is alive after so many operations."""
    state: State = {}
    for kind, names, seed in operations()[:count]:
        for name in names:
            if kind == "add":
                state[name] = seed
            else:
                state.pop(name)
    return state


def holds(index: RegionIndex, state: State) -> bool:
    """Whether images and their vectors are those of a state."""
    if index.images() != tuple(sorted(state)):
        return False
    same = True
    for kind, names, seed in operations():
        made = clustered(5 * len(names), seed).reshape(len(names), 5, WIDTH)
        for name, vectors in zip(names, made, strict=True):
            if kind == "add" and state.get(name) == seed:
                found = index.regions_of(name)[0]
                same = same and bool(np.abs(found - vectors).max() < CODED_APART)
    return same


# One process imports everything, then forks a victim for each point that it is killed at: before
# the n-th sync or rename of a file, of which a change makes at least STRIDE.
STRIDE = 4
KILLER = """
import json, os, signal, sys
from pathlib import Path
from tests.curation import test_index_crash as crash
from tests.curation.test_index import opened

def victim(folder, point, done):
    seen = 0
    def watched(original):
        def call(*arguments, **options):
            nonlocal seen
            seen += 1
            if seen == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)
        return call
    os.fsync = watched(os.fsync)
    Path.replace = watched(Path.replace)
    index = opened(folder, crash.COMPACTING)
    for operation in crash.operations():
        crash.apply(index, operation)
        os.write(done, b".")

root, point = Path(sys.argv[1]), 1 - crash.STRIDE
while True:
    point += crash.STRIDE
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        victim(root / str(point), point, writing)
        os._exit(0)
    os.close(writing)
    status = os.waitpid(child, 0)[1]
    completed = len(os.read(reading, 100))
    os.close(reading)
    print(json.dumps({"point": point, "completed": completed, "status": status}), flush=True)
    if not os.WIFSIGNALED(status):
        break
"""


def test_killed_before_a_sync_or_rename_it_holds_a_whole_version(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        check=True,
        timeout=DEADLINE_S,
    )
    crashes = [json.loads(line) for line in done.stdout.splitlines()]
    *killed, last = crashes
    assert last["status"] == 0
    assert last["completed"] == len(operations())
    assert {crash["completed"] for crash in killed} == set(range(len(operations())))
    for crash in crashes:
        if crash["status"]:
            assert os.WTERMSIG(crash["status"]) == signal.SIGKILL
        folder = tmp_path / str(crash["point"])
        index = opened(folder, COMPACTING)
        index.verify()
        completed = crash["completed"]
        assert holds(index, after(completed)) or holds(index, after(completed + 1)), crash


def test_after_a_crash_the_next_writer_goes_on_and_leaves_nothing_behind(tmp_path: Path) -> None:
    index = opened(tmp_path, COMPACTING)
    for operation in operations()[:6]:
        apply(index, operation)
    # What a process that was killed while it sealed and compacted may leave.
    for name in ("vectors-00000099.f16", "shard-00000001-00000001-5.faiss", ".VERSION.json.tmp"):
        (tmp_path / name).write_bytes(b"torn")
    for name in ("vectors.f16", "regions.bin", "entries.bin", "dead.bin"):
        with (tmp_path / name).open("ab") as file:
            file.write(b"torn")
    for operation in operations()[6:]:
        apply(index, operation)
    index.seal()
    assert holds(opened(tmp_path, COMPACTING), after(len(operations())))
    index.verify()
    assert not list(tmp_path.glob(".*"))
    assert len(list(tmp_path.glob("*.f16"))) == 1
    assert len(list(tmp_path.glob("shard-*"))) == len(index.shards())


WRITER = """
import sys
from pathlib import Path
from tests.curation.test_index import fill, opened
index = opened(Path(sys.argv[1]))
print("ready", flush=True)
number = 0
while True:
    fill(index, [f"{sys.argv[2]}-{number}-{n}" for n in range(20)], seed=number)
    if number % 2:
        index.delete(f"{sys.argv[2]}-{number}-3")
        print(number, flush=True)
    if number % 5 == 4:
        index.seal()
    number += 1
"""


def writer(folder: Path, name: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), name], stdout=subprocess.PIPE, env=ENVIRONMENT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_a_crash_at_any_moment_leaves_the_last_whole_version(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    known: set[str] = set()
    for attempt in range(3):
        with writer(tmp_path, str(attempt)) as process:
            time.sleep(rng.uniform(0.1, 1.0))  # the moment of the crash is what varies
            process.send_signal(signal.SIGKILL)
        index = opened(tmp_path)
        index.verify()
        images = set(index.images())
        assert known <= images
        assert len(index) == 5 * len(images)
        for image in sorted(images)[:5]:
            vector = index.regions_of(image)[0][:1]
            assert index.search(vector, 1).similarities[0, 0] == pytest.approx(1, abs=1e-3)
        known = images
    assert known


def test_searches_go_on_while_another_process_adds_deletes_and_seals(tmp_path: Path) -> None:
    reader, deadline = opened(tmp_path), time.monotonic() + DEADLINE_S
    with writer(tmp_path, "w") as process:
        assert process.stdout is not None
        seals = set()
        for _ in range(12):
            # The deletion has returned in the other process: from now on it is never found.
            number = int(process.stdout.readline())
            own = clustered(100, number).reshape(20, 5, WIDTH)[2:4, 0]  # of what stays, what went
            found = set(reader.search(own, 40).images.ravel())
            scored = set(reader.score_images(own).images)
            assert f"w-{number}-2" in found
            assert f"w-{number}-2" in scored
            assert f"w-{number}-3" not in found
            assert f"w-{number}-3" not in scored
            seals.add(tuple(shard.file for shard in reader.shards()))
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGKILL)
    assert len(seals) > 1
    assert SMALL_SHARDS.min_regions <= sum(shard.count for shard in reader.shards())
