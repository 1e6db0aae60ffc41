"""The watched folder when something goes wrong: it costs the file that it happens to."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.common.waiting import wait_until
from services.cli import doctor_files
from services.config.settings import Settings
from services.context import Context
from services.intake.watch import NAME, STILL_LOOKS, WORDLESS_LOOKS, Watcher, watch
from services.store.ready_file import ready_file
from tests import bad_images
from tests.services.builders import add_champion
from tests.services.watch_folder import *  # noqa: F403
from tests.services.watch_folder import CAR, frames, looked, names, put

LONG = "x" * 251


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"{LONG}.png", f"{LONG}.json"),  # 255 and 256 bytes: no words can lie beside it
        (f"{'x' * 247}.png", f"{'x' * 247}.json"),
        (f"{'ä' * 123}.png", f"{'ä' * 123}.json"),
        (os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"caf\xe9.json")),
        (os.fsdecode(b"\xff" * 200 + b".png"), os.fsdecode(b"\xff" * 200 + b".json")),
    ],
    ids=["longest", "long", "long-utf8", "latin1", "long-bytes"],
)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "damaged"])
def test_no_name_stops_the_others(
    name: str, words: str, whole: bool, watcher: Watcher, folder: Path, sqlite_context: Context
) -> None:
    put(folder, "a.png", bad_images.png(1), {"objects": []})
    (folder / name).write_bytes(bad_images.png(2) if whole else b"no image")
    if len(os.fsencode(words)) <= 255:
        (folder / words).write_text('{"objects": []}')
    else:
        whole = False  # nothing can be said about it
    put(folder, "zz.png", bad_images.png(3), {"objects": []})

    dealt = looked(watcher, WORDLESS_LOOKS)

    assert len(dealt) == 3
    assert {"a.png", "zz.png"} < set(dealt)
    assert frames(sqlite_context) == (3 if whole else 2)
    odd = (folder / ("done" if whole else "rejected")).iterdir()
    assert any(path.suffix == ".png" and path.name not in ("a.png", "zz.png") for path in odd)
    if not whole:
        notes = [path for path in (folder / "rejected").iterdir() if path.suffix == ".txt"]
        assert len(notes) == 1
        assert len(notes[0].read_text(encoding="utf-8")) > 20


def test_a_copy_that_paused_is_tried_again_when_it_goes_on(
    watcher: Watcher, folder: Path, sqlite_context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    whole = bad_images.png(1)
    put(folder, "slow.png", b"", {"objects": []})
    with (folder / "slow.png").open("r+b", buffering=0) as copy:
        copy.write(whole[:100])
        assert looked(watcher) == ["slow.png"]
        reason = (folder / "rejected" / "slow.png.txt").read_text()
        assert "tried again" in reason
        copy.write(whole[100:])  # it writes on, wherever the file lies by now
    looked(watcher, 2 * STILL_LOOKS)
    assert names(folder / "done") == {"slow.png", "slow.png.json"}
    assert names(folder / "rejected") == set()
    assert frames(sqlite_context) == 1
    assert "changed after it was refused" in caplog.text


def test_what_was_refused_is_known_after_a_restart(
    watcher: Watcher, folder: Path, sqlite_context: Context
) -> None:
    put(folder, "frame.png", bad_images.png(1), {"objects": "car"})
    looked(watcher)
    words = folder / "rejected" / "frame.png.json"
    again = Watcher(sqlite_context, folder)
    assert looked(again, 4) == []  # nothing has changed
    words.write_text('{"objects": []}')  # mended where it lies
    assert looked(again, 2 * STILL_LOOKS) == ["frame.png"]
    assert frames(sqlite_context) == 1


def test_trouble_of_one_file_is_said_once_and_seen_by_the_doctor(
    watcher: Watcher, folder: Path, sqlite_context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    store = sqlite_context.project.images
    store.rmdir()
    store.symlink_to("/dev/full/nowhere")
    put(folder, "frame.png", bad_images.png(1), {"objects": []})
    looked(watcher, 8)
    assert set(watcher.troubles) == {"frame.png"}
    said = [line for line in caplog.messages if "frame.png" in line]
    assert len(said) == 1
    store.unlink()
    store.mkdir()
    looked(watcher, 8)
    assert watcher.troubles == {}
    assert frames(sqlite_context) == 1


def test_a_folder_that_is_away_for_a_while_does_not_end_the_watch(
    sqlite_context: Context, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = sqlite_context.project.root
    with sqlite_context.sessions.begin() as session:
        add_champion(session)
    watched = Settings(
        project=root,
        database_url=sqlite_url,
        ingest={"watch_folder": "inbox", "watch_interval_s": 0.02},
    )
    context = replace(sqlite_context, settings=watched)
    stop = threading.Event()
    thread = threading.Thread(target=watch, args=(context, stop))
    thread.start()
    try:
        inbox = root / "inbox"
        wait_until(ready_file(context.project, NAME).is_file, 10, "the watch has begun")
        inbox.rename(root / "away")
        put(root / "away", "frame.png", bad_images.png(1), {"objects": [CAR]})
        wait_until(lambda: "the folder: FileNotFoundError" in caplog.text, 10, "it has looked")
        (root / "away").rename(inbox)
        wait_until((inbox / "done" / "frame.png").is_file, 20, "the frame is taken")
    finally:
        stop.set()
        thread.join()
    assert frames(sqlite_context) == 1


def test_the_doctor_names_what_was_refused(
    watcher: Watcher, folder: Path, sqlite_context: Context
) -> None:
    put(folder, "mute.png", bad_images.png(1))
    looked(watcher, WORDLESS_LOOKS)
    settings = Settings(project=sqlite_context.project.root, ingest={"watch_folder": folder})
    context = replace(sqlite_context, settings=settings)
    (finding,) = [one for one in doctor_files.examine(context) if one.what == "watch"]
    assert finding.state == "warn"
    assert "mute.png" in finding.found
    assert str(folder / "rejected") in finding.advice
