"""Files of a project: stored once, whole or not at all, never outside the project."""

from __future__ import annotations

import ast
import io
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.common.projects import make_context
from benchmarks.common.waiting import PATIENCE
from curation.kernel import images
from curation.kernel.errors import ImageUnreadable, ShardCorrupt
from services.config import builders
from services.context import Context
from services.errors import NotAllowed
from services.store import storage
from services.store.storage import DiskFull
from tests import bad_images
from tests.services.builders import make_image


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_an_image_is_stored_under_its_hash_once(sqlite_context: Context) -> None:
    project = sqlite_context.project
    data = bad_images.png()

    first = storage.put_image(sqlite_context, data, name="a.jpg")
    second = storage.put_image(sqlite_context, data, name="b.png")

    assert first == second
    assert first.file == f"{first.id[:2]}/{first.id}.png"
    assert [path.read_bytes() for path in _files(project.images)] == [data]
    assert (first.width_px, first.height_px) == (bad_images.WIDTH, bad_images.HEIGHT)


@pytest.mark.parametrize("name", bad_images.BAD)
def test_a_bad_image_leaves_nothing(sqlite_context: Context, name: str) -> None:
    project = sqlite_context.project

    with pytest.raises(ImageUnreadable):
        storage.put_image(sqlite_context, bad_images.BAD[name](), name="a.png")

    assert _files(project.images) == []


@pytest.mark.parametrize("name", bad_images.ODD)
def test_an_odd_image_is_stored_and_opens_as_it_was_measured(
    sqlite_context: Context, name: str
) -> None:
    stored = storage.put_image(sqlite_context, bad_images.ODD[name]())

    pixels = storage.open_image(sqlite_context, make_image(1, id=stored.id, file=stored.file))

    assert pixels.shape == (stored.height_px, stored.width_px, 3)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "00/../../outside.png"])
def test_a_row_cannot_name_a_file_outside_the_project(sqlite_context: Context, path: str) -> None:
    with pytest.raises(NotAllowed, match="leaves the project folder"):
        storage.open_image(sqlite_context, make_image(1, file=path))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs"]
    if os.getuid() or subprocess.run(["mount", *options, folder], check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(small_disk: Path, sqlite_url: str) -> None:
    context = make_context(small_disk, sqlite_url)
    project = context.project
    before = _files(small_disk)
    large = images.encode_png(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))

    with pytest.raises(DiskFull, match="free some and try again") as full:
        storage.put_image(context, large)

    assert full.value.retryable
    assert _files(small_disk) == before
    small = storage.put_image(context, bad_images.jpeg())
    assert (project.images / small.file).read_bytes() == bad_images.jpeg()
    context.engine.dispose()


LIMITED = """
import resource, signal, sys
from pathlib import Path
from services.store.storage import DiskFull, write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_bytes(Path(sys.argv[1]) / "new" / "file", b"x" * 50_000)
except DiskFull as error:
    raise SystemExit(f"refused: {error}")
"""


def test_a_file_size_limit_is_a_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] in (resource.RLIM_INFINITY, -1)
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]

    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60 * PATIENCE, check=False
    )

    assert "refused: no space left for file" in done.stderr
    assert _files(tmp_path) == []


def test_a_replaced_file_is_old_or_new(tmp_path: Path) -> None:
    file = tmp_path / "values"
    storage.write_bytes(file, b"old")
    storage.write_bytes(file, b"new")

    assert file.read_bytes() == b"new"
    assert _files(tmp_path) == [file]


def test_arrays_come_back_and_damage_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "arrays.npz"
    storage.write_npz(file, values=np.arange(5), masks=np.ones((2, 3), np.bool_))

    stored = storage.read_npz(file)

    assert stored["values"].tolist() == [0, 1, 2, 3, 4]
    assert stored["masks"].all()
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ShardCorrupt, match=r"arrays\.npz: damaged"):
        storage.read_npz(file)


def test_any_changed_byte_is_damage_or_nothing(tmp_path: Path) -> None:
    file = tmp_path / "arrays.npz"
    values = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    storage.write_npz(file, values=values, names=np.array(["a", "bc"]))
    whole, damaged = file.read_bytes(), 0
    for place in range(len(whole)):
        for bit in (1, 0x80):
            changed = bytearray(whole)
            changed[place] ^= bit
            file.write_bytes(changed)
            try:
                stored = storage.read_npz(file)
            except ShardCorrupt:
                damaged += 1
            else:  # the byte was a date, or part of a name
                assert all(np.array_equal(stored[n], values) for n in stored if n == "values")
    assert damaged > len(whole)
    with pytest.raises(FileNotFoundError):
        storage.read_npz(tmp_path / "none.npz")


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "arrays.npz"
    np.savez(file, values=np.array([{"a": 1}], dtype=object))

    with pytest.raises(ShardCorrupt):
        storage.read_npz(file)


def test_workers_open_what_the_door_lets_in(sqlite_context: Context) -> None:
    """Under the limits of the settings, above and below those that a decoder has by itself."""
    buffer = io.BytesIO()
    Image.new("1", (10_000, 5_100)).save(buffer, "PNG")
    wide = _limited(sqlite_context, max_pixels=51_000_000)
    stored = storage.put_image(
        wide, buffer.getvalue(), builders.image_limits(wide.settings), "wide.png"
    )
    row = make_image(1, id=stored.id, file=stored.file)

    assert storage.open_image(wide, row).shape == (5_100, 10_000, 3)
    for context in (sqlite_context, _limited(sqlite_context, max_pixels=10_000)):
        with pytest.raises(ImageUnreadable, match="is over"):
            storage.open_image(context, row)


def _limited(context: Context, **limits: int) -> Context:
    ingest = context.settings.ingest.model_copy(update=limits)
    settings = context.settings.model_copy(update={"ingest": ingest})
    return Context(settings, context.project, context.engine, context.sessions)


DECODERS = {"decode", "load"}


def test_every_picture_is_decoded_under_limits_that_are_given() -> None:
    """One set of limits: no call of the two decoders leaves them to their defaults."""
    root = Path(storage.__file__).parents[1]
    files = [*(root / "services").rglob("*.py"), *(root / "retrain").rglob("*.py")]
    bare = []
    for file in files:
        tree = ast.parse(file.read_text())
        plain = {
            name.asname or name.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "curation.kernel.images"
            for name in node.names
        } & DECODERS
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            told = ast.unparse(call.func)
            if told in plain or told in {f"images.{name}" for name in DECODERS}:
                given = [
                    ast.unparse(one) for one in (*call.args, *(k.value for k in call.keywords))
                ]
                if not any("limits" in one for one in given):
                    bare.append(f"{file.name}:{call.lineno}: {told}")
    assert bare == []
