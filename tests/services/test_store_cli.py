"""``e2x store`` and what ``e2x doctor`` says of a store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

from benchmarks.common.buckets import ACCESS_KEY, SECRET_KEY, Seaweed
from benchmarks.common.waiting import wait_until
from services import context as wiring
from services.config.settings import PROJECT_FILE, Settings
from services.db.tables import Role
from services.store import storage
from services.store.objects import walk
from services.store.project_store import store_of
from services.upkeep.move_store import BATCH, JOURNAL
from tests import bad_images
from tests.services.builders import make_image
from tests.services.commands import CommandLine, Ran

MANY = 5 * BATCH


def set_storage(line: CommandLine, server: Seaweed, **more: str) -> None:
    keys = {"endpoint": server.endpoint, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY, **more}
    lines = [f'{key} = "{value}"' for key, value in keys.items()]
    (line.root / PROJECT_FILE).write_text("\n".join(["[storage]", "patience_s = 20", *lines, ""]))


def said_of_store(ran: Ran) -> dict[str, str]:
    (found,) = [one for one in ran.json if one["what"] == "store"]
    return dict(found)


def test_doctor_tries_the_store_and_says_what_is_wrong(line: CommandLine, seaweed: Seaweed) -> None:
    assert said_of_store(line.run("doctor", "--json"))["state"] == "ok"

    set_storage(line, seaweed, url="s3://e2x/doctor")
    found = said_of_store(line.run("doctor", "--json"))
    assert found["state"] == "ok"
    assert found["found"] == "s3://e2x/doctor: stores, reads, swaps and deletes"

    set_storage(line, seaweed, url="s3://e2x/doctor", secret_key="another")
    ran = line.run("doctor", "--json")
    found = said_of_store(ran)
    assert (ran.code, found["state"]) == (1, "fail")
    assert "is refused: look at storage.access_key" in found["found"]

    set_storage(line, seaweed, url="s3://e2x/doctor", endpoint="http://127.0.0.1:9")
    found = said_of_store(line.run("doctor", "--json"))
    assert found["state"] == "fail"
    assert "http://127.0.0.1:9 does not serve it" in found["found"]


def test_a_move_that_is_killed_goes_on_and_then_switches(
    line: CommandLine, seaweed: Seaweed
) -> None:
    set_storage(line, seaweed)
    context = wiring.build(Settings(project=line.root))
    stored = storage.put_image(context, bad_images.png(1))
    with context.sessions.begin() as session:
        session.add(make_image(1, Role.SEED, id=stored.id, file=stored.file))
    store = store_of(context)
    for number in range(MANY):
        store.put(f"modes/cycle-1/{number:04}.npz", b"%d" % number)
    command = [sys.executable, "-m", "services.cli", "store", "move", "project", "s3://e2x/killed"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "E2X_PROJECT": str(line.root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    journal: Path = context.project.state / JOURNAL
    wait_until(lambda: journal.exists() or process.poll() is not None, 120, "the move begins")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "url" not in tomllib.loads((line.root / PROJECT_FILE).read_text())["storage"]

    again = line.done("store", "move", "project", "s3://e2x/killed", "--json").json

    assert (again["objects"], again["left"]) == (MANY + 1, [])
    assert again["copied"] <= MANY + 1 - BATCH
    moved = wiring.build(Settings(project=line.root))
    assert store_of(moved).objects.name == "s3://e2x/killed"
    assert len(list(walk(store_of(moved).objects))) == MANY + 1
    (context.project.images / stored.file).unlink()
    ran = line.run("doctor", "--deep", "--json")
    assert [one for one in ran.json if one["what"] == "images" and one["state"] != "ok"] == []
    refused = line.run("store", "move", "project", "s3://e2x/other")
    assert "are in s3://e2x/killed, not in file://" in refused.err
    for wired in (context, moved):
        wired.engine.dispose()


def test_a_backup_of_a_bucket_is_a_whole_project(
    line: CommandLine, seaweed: Seaweed, tmp_path: Path
) -> None:
    set_storage(line, seaweed, url="s3://e2x/backup")
    context = wiring.build(Settings(project=line.root))
    stored = storage.put_image(context, bad_images.png(1))
    with context.sessions.begin() as session:
        session.add(make_image(1, Role.SEED, id=stored.id, file=stored.file))

    line.done("backup", tmp_path / "copy")

    assert (tmp_path / "copy" / "images" / stored.file).read_bytes() == bad_images.png(1)
    line.done("backup", "--verify", tmp_path / "copy")
    (tmp_path / "copy" / "images" / stored.file).unlink()
    assert line.run("backup", "--verify", tmp_path / "copy").code != 0
    context.engine.dispose()
