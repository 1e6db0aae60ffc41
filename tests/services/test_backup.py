"""A backup that is made while everything writes can be opened, and nothing in it is missing."""

from __future__ import annotations

import shlex
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from benchmarks.common.databases import Postgres
from benchmarks.common.projects import make_context, make_project
from benchmarks.common.waiting import wait_until
from services import context as wiring
from services.config.settings import Settings
from services.context import Context
from services.db import migrate
from services.db.engine import reading
from services.db.tables import Embedding, Image, Role
from services.errors import Conflict, InvalidRequest
from services.intake.frames import ingest_frame
from services.store.region_index import open_index
from services.store.storage import put_image, write_npz
from services.upkeep import backup, backup_manifest, invariants
from services.upkeep.backup_manifest import verify
from tests import bad_images
from tests.services.builders import make_image
from tests.services.commands import CommandLine
from tests.services.whole_project import ENCODER, WIDTH, make_whole


def nobody(_what: str, _done: int, _all: int) -> None:
    pass


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Context]:
    """A small whole project on SQLite in its own folder, as `e2x init` makes it."""
    root = make_project(tmp_path / "p").root
    context = wiring.build(Settings(project=root))
    migrate.upgrade(context.engine)
    make_whole(context)
    assert invariants.check(context) == []
    yield context
    context.engine.dispose()


@contextmanager
def opened(root: Path) -> Iterator[Context]:
    context = wiring.build(Settings(project=root))
    yield context
    context.engine.dispose()


@contextmanager
def busy(*jobs: Callable[[int], None]) -> Iterator[list[int]]:
    """Do jobs again and again beside the block; how often each was done, and they were."""
    stop, done = threading.Event(), [0] * len(jobs)
    errors: list[BaseException] = []

    def work(number: int, job: Callable[[int], None]) -> None:
        try:
            while not stop.is_set():
                job(done[number])
                done[number] += 1
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=one) for one in enumerate(jobs)]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        assert errors == []


def frames_of(context: Context) -> int:
    with reading(context.sessions) as session:
        return session.scalar(select(func.count()).where(Image.role == Role.FIELD)) or 0


def test_a_backup_of_a_project_that_writes_is_whole(project: Context, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def ingest(number: int) -> None:
        ingest_frame(project, bad_images.png(1000 + number), f"{number}.png", objects=[])

    def embed(number: int) -> None:
        """What the stages embed and index do for one image, a file and a row at a time."""
        stored = bad_images.png(5000 + number)
        image = make_image(5000 + number, Role.POOL, **_stored(project, stored))
        vectors = rng.normal(size=(2, WIDTH)).astype(np.float16).astype(np.float32)
        boxes = np.tile(np.array([0, 0, 8, 8], np.float32), (2, 1))
        name = f"batch-{number}.npz"
        write_npz(
            project.project.embeddings / name, vectors=vectors, boxes=boxes, counts=np.array([2])
        )
        with project.sessions.begin() as session:
            session.add(image)
            session.flush()
            row = Embedding(image_id=image.id, encoder_version=ENCODER, file=name, row=0, regions=2)
            session.add(row)
        open_index(project, ENCODER, WIDTH).add([image.id], [vectors], [boxes])
        with project.sessions.begin() as session:
            session.get_one(Embedding, row.id).indexed = True

    target = tmp_path / "backup"
    with busy(ingest, embed) as done:
        wait_until(lambda: min(done) >= 3, 30, "both write")
        before = frames_of(project)
        manifest = backup.make(project, target, nobody)
        after = frames_of(project)
    assert after > before, "nothing was written meanwhile: the test has shown nothing"
    assert manifest["database"] == {"kind": "sqlite", "file": "state/e2x.db"}
    assert verify(target, nobody) == []

    with opened(target) as restored:
        assert before <= frames_of(restored) <= after
        # An image that was embedded a moment ago may wait for the index, as in the project then.
        wrong = [
            one for one in invariants.check(restored) if "nothing will index it" not in one.found
        ]
        assert wrong == []
    assert len([one for one in project.project.index.iterdir() if one.name.startswith(".")]) == 0


def _stored(context: Context, data: bytes) -> dict[str, str]:
    stored = put_image(context, data)
    return {"id": stored.id, "file": stored.file}


def test_any_damage_is_found(project: Context, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    backup.make(project, target, nobody, link=False)
    (image,) = list((target / "images").rglob("*.png"))[:1]
    content = image.read_bytes()
    image.write_bytes(content[:-1] + b"x")
    assert verify(target, nobody) == [f"{image.relative_to(target)} is not what it was"]
    image.unlink()
    wrong = verify(target, nobody)
    assert wrong[0] == f"{image.relative_to(target)} is missing"
    assert any("has no file" in one for one in wrong)  # and the row that needs it is named
    image.write_bytes(content)
    assert verify(target, nobody) == []


def test_a_backup_leaves_out_caches_logs_and_broker_and_is_for_its_owner(
    project: Context, tmp_path: Path
) -> None:
    folder = project.project
    for file in (folder.segments / "a.npz", folder.logs / "api.log", folder.state / "redis.aof"):
        file.write_bytes(b"left out")
    (folder.images / ".half").write_bytes(b"left out")
    (folder.state / "api-token").write_text("secret")
    target = tmp_path / "backup"
    backup.make(project, target, nobody)
    contents = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert {"e2x.toml", "backup.json", "state/api-token", "state/e2x.db"} <= contents
    assert not any("left out" in (target / name).read_bytes().decode("latin1") for name in contents)
    assert stat.S_IMODE(target.stat().st_mode) == 0o700


def test_nothing_is_written_over(project: Context, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    target.mkdir()
    (target / "mine").touch()
    with pytest.raises(Conflict, match="not empty"):
        backup.make(project, target, nobody)
    assert [path.name for path in target.iterdir()] == ["mine"]
    with pytest.raises(InvalidRequest, match="among the data"):
        backup.make(project, project.project.models / "backup", nobody)
    (tmp_path / "new.partial").mkdir()
    with pytest.raises(Conflict, match="did not end"):
        backup.make(project, tmp_path / "new", nobody)


def test_what_cannot_be_finished_leaves_nothing(project: Context, tmp_path: Path) -> None:
    def full(what: str, _done: int, _all: int) -> None:
        if what == "images":
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        backup.make(project, tmp_path / "backup", full)
    assert not list(tmp_path.glob("backup*"))
    assert not list(project.project.index.glob(".*"))


def test_the_command_backs_up_and_verifies(project: Context, tmp_path: Path) -> None:
    command = CommandLine(project.project.root)
    target = tmp_path / "backup"
    assert "to restore" in command.done("backup", target).out
    assert "is whole" in command.done("backup", "--verify", target).out
    with (target / "e2x.toml").open("a") as file:
        file.write("# changed\n")
    ran = command.run("backup", "--verify", target)
    assert ran.code == 1
    assert "e2x.toml is not what it was" in ran.out
    assert command.run("backup", target).code == 2
    assert command.run("backup", "--verify", tmp_path / "no").code == 2


def test_postgresql_is_dumped_by_its_own_program(
    postgres: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    context = make_context(tmp_path / "p", postgres_url)
    make_whole(context)
    command = backup.dump_command(context.engine.url, tmp_path / "e2x.dump")
    assert command.startswith("pg_dump --format=custom --file=")
    manifest = backup.make(context, tmp_path / "files", nobody)
    assert manifest["database"] == {"kind": "postgresql", "file": None}
    assert verify(tmp_path / "files", nobody) == [
        "the database is not in it: it was made without --dump"
    ]
    program = postgres.program("pg_dump")
    subprocess.run([program, *shlex.split(command)[1:]], check=True)
    backup.make(context, tmp_path / "both", nobody, dump=tmp_path / "e2x.dump")
    assert verify(tmp_path / "both", nobody) == []
    assert backup_manifest.read(tmp_path / "both")["database"]["file"] == "state/database.dump"
    context.engine.dispose()
