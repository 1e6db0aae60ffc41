"""The watched folder: what is taken, what is refused, what is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from benchmarks.common.projects import make_context
from benchmarks.common.waiting import PATIENCE, wait_until
from services.config.settings import Settings
from services.context import Context
from services.db.tables import Annotation, Image, Role
from services.intake.watch import WORDLESS_LOOKS, Watcher, watched_folder
from services.store.ready_file import ready_file
from services.worker.environment import environment_of
from services.worker.programs import Wish, programs
from tests import bad_images
from tests.services.builders import add_champion
from tests.services.watch_folder import *  # noqa: F403
from tests.services.watch_folder import CAR, Raw, frames, looked, names, put

WISH = Wish({}, None, {}, 1.0)


def test_frames_with_words_are_taken_in_and_moved(
    watcher: Watcher, folder: Path, sqlite_context: Context
) -> None:
    put(folder, "truth.png", bad_images.png(1), {"objects": [CAR], "group": "drive 7"})
    put(folder, "empty.png", bad_images.png(2), {"objects": []})
    put(folder, "said.jpg", bad_images.jpeg(3), {"reports": [{**CAR, "kind": "missed"}]})

    assert looked(watcher) == ["empty.png", "said.jpg", "truth.png"]
    assert names(folder) == set()
    expected = {"truth.png", "empty.png", "said.jpg"}
    assert names(folder / "done") == expected | {f"{name}.json" for name in expected}
    with sqlite_context.sessions() as session:
        rows = {row.name: row for row in session.scalars(select(Image))}
        assert {row.role for row in rows.values()} == {Role.FIELD}
        assert (rows["truth.png"].group, rows["truth.png"].source) == ("drive 7", "watched folder")
        truths = {row.image_id: row.objects for row in session.scalars(select(Annotation))}
        assert truths[rows["truth.png"].id] == [
            {**CAR, "box": [2.0, 2.0, 30.0, 30.0], "ignore": False}
        ]
        assert truths[rows["empty.png"].id] == []


def test_a_file_that_grows_is_left_alone(watcher: Watcher, folder: Path) -> None:
    whole = bad_images.png(1)
    put(folder, "slow.png", whole[:100], {"objects": []})
    assert watcher.look() == []
    put(folder, "slow.png", whole[:200])
    assert watcher.look() == []
    put(folder, "slow.png", whole)
    assert watcher.look() == []
    assert [path.parent.name for path in watcher.look()] == ["done"]


def test_words_may_come_after_their_image(watcher: Watcher, folder: Path) -> None:
    path = put(folder, "late.png", bad_images.png(1))
    assert looked(watcher, WORDLESS_LOOKS - 1) == []
    path.with_suffix(".json").write_text('{"objects": []}')
    assert watcher.look() == []  # the words themselves must stand still
    assert [moved.parent.name for moved in watcher.look()] == ["done"]
    assert names(folder / "done") == {"late.png", "late.png.json"}


def test_without_words_a_frame_is_refused_with_the_reason(watcher: Watcher, folder: Path) -> None:
    put(folder, "mute.png", bad_images.png(1))
    assert looked(watcher, WORDLESS_LOOKS) == ["mute.png"]
    assert names(folder / "rejected") == {"mute.png", "mute.png.txt"}
    assert "objects" in (folder / "rejected" / "mute.png.txt").read_text()


@pytest.mark.parametrize("kind", sorted(bad_images.BAD))
def test_a_bad_image_costs_its_neighbours_nothing(
    kind: str, watcher: Watcher, folder: Path, sqlite_context: Context
) -> None:
    put(folder, "a.png", bad_images.png(1), {"objects": []})
    put(folder, "bad.jpg", bad_images.BAD[kind](), {"objects": []})
    put(folder, "c.jpg", bad_images.png_bytes(), {"objects": []})  # a PNG in truth

    assert looked(watcher) == ["a.png", "bad.jpg", "c.jpg"]
    assert names(folder / "rejected") == {"bad.jpg", "bad.jpg.json", "bad.jpg.txt"}
    assert len((folder / "rejected" / "bad.jpg.txt").read_text()) > 20
    assert frames(sqlite_context) == 2


def test_a_reason_is_text_that_a_terminal_does_not_obey(watcher: Watcher, folder: Path) -> None:
    name = "a\x1b[2J\x9b.png"
    put(folder, name, bad_images.png(), {"object": []})

    assert looked(watcher) == [name]
    reason = (folder / "rejected" / f"{name}.txt").read_text()
    assert r"a\x1b[2J\x9b.png" in reason
    assert all(line.isprintable() for line in reason.splitlines())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"objects": [{"box": [30, 2, 2, 30], "label": "car"}]}, "x"),
        ({"objects": [{"box": [2, 2, 30], "label": "car"}]}, "box"),
        ({"objects": [{"box": [2, 2, 30, 30], "label": "unicorn"}]}, "unicorn"),
        ({"objects": "car"}, "objects"),
        ({"reports": [{**CAR, "kind": "odd"}]}, "kind"),
        ({"object": []}, "object"),
        ({"objects": [{"box": [0.1, 0.2, 0.5, 0.6], "label": "car"}]}, "look normalised: give x1"),
        ({"reports": [{**CAR, "box": [0.1, 0.2, 0.5, 0.6], "kind": "missed"}]}, "normalised"),
        ({"objects": [{"box": ["2", 2, 30, 30], "label": "car"}]}, "valid number"),
        ({"objects": [{**CAR, "ignore": "0"}]}, "objects.0.ignore"),
        ({"objects": [CAR], "width_px": 640, "height_px": 480}, "spoken of as 640x480"),
        ({"objects": [CAR], "width_px": 640}, "give both"),
        (Raw('{"objects": [], "objects": [], "reporter": "a"}'), "'objects' is there twice"),
        (Raw('{"objects": [{"box": [NaN, 1, 9, 9], "label": "car"}]}'), "NaN is no JSON"),
        (Raw("[" * 10**5), "nested too deeply"),
        ({}, "objects"),
        ([], "the file"),
    ],
)
def test_bad_words_are_refused(
    words: object, reason: str, watcher: Watcher, folder: Path, sqlite_context: Context
) -> None:
    put(folder, "frame.png", bad_images.png(1), words)
    assert looked(watcher) == ["frame.png"]
    assert reason in (folder / "rejected" / "frame.png.txt").read_text()
    assert frames(sqlite_context) == 0


def test_a_link_is_refused_and_its_target_stays(
    watcher: Watcher, folder: Path, tmp_path: Path, sqlite_context: Context
) -> None:
    target = put(tmp_path, "private.png", bad_images.png(1))
    (folder / "link.png").symlink_to(target)
    put(folder, "words.png", bad_images.png(2))
    (tmp_path / "words.json").write_text('{"objects": []}')
    (folder / "words.json").symlink_to(tmp_path / "words.json")
    looked(watcher, WORDLESS_LOOKS)
    assert frames(sqlite_context) == 0
    assert target.is_file()
    assert "link" in (folder / "rejected" / "link.png.txt").read_text()
    assert "link" in (folder / "rejected" / "words.png.txt").read_text()


def test_hidden_unfinished_and_other_files_stay(watcher: Watcher, folder: Path) -> None:
    stay = {".hidden.png", "~frame.png", "frame.png.part", "frame.tmp", "notes.txt"}
    for name in stay:
        put(folder, name, bad_images.png(1))
    (folder / "drive").mkdir()
    put(folder / "drive", "deep.png", bad_images.png(2), {"objects": []})
    assert looked(watcher, WORDLESS_LOOKS + 1) == []
    assert names(folder) == stay


def test_the_same_name_and_the_same_frame_again(
    watcher: Watcher, folder: Path, sqlite_context: Context
) -> None:
    for seed in (1, 1, 2):
        put(folder, "frame.png", bad_images.png(seed), {"objects": []})
        looked(watcher)
    assert frames(sqlite_context) == 2
    assert {"frame.png", "frame-1.png", "frame-2.png"} <= names(folder / "done")


def test_words_beside_two_images_belong_to_neither(watcher: Watcher, folder: Path) -> None:
    put(folder, "a.png", bad_images.png(1))
    put(folder, "a.jpg", bad_images.jpeg(2))
    (folder / "a.json").write_text('{"objects": []}')
    assert looked(watcher) == ["a.jpg", "a.png"]
    assert names(folder) == {"a.json"}
    assert "a.png.json" in (folder / "rejected" / "a.png.txt").read_text()


def test_a_frame_is_tried_again_while_the_disk_is_full(
    watcher: Watcher, folder: Path, sqlite_context: Context
) -> None:
    put(folder, "frame.png", bad_images.png(1), {"objects": []})
    store = sqlite_context.project.images
    store.rmdir()
    store.symlink_to("/dev/full/nowhere")  # nothing can be written below it
    assert looked(watcher, 3) == []
    store.unlink()
    store.mkdir()
    assert looked(watcher, 1) == ["frame.png"]


def test_the_folder_lies_in_the_project_unless_it_is_absolute(
    tmp_path: Path, sqlite_url: str
) -> None:
    context = make_context(tmp_path / "p", sqlite_url, ingest={"watch_folder": "inbox"})
    assert watched_folder(context) == tmp_path / "p" / "inbox"
    elsewhere = make_context(tmp_path / "q", sqlite_url, ingest={"watch_folder": tmp_path / "i"})
    assert watched_folder(elsewhere) == tmp_path / "i"
    for one in (context, elsewhere):
        one.engine.dispose()


@pytest.mark.parametrize("watched", [True, False])
def test_up_runs_it_where_a_folder_is_set(watched: bool, tmp_path: Path, sqlite_url: str) -> None:
    settings = {"ingest": {"watch_folder": "inbox"}} if watched else {}
    context = make_context(tmp_path / "p", sqlite_url, **settings)
    found = {program.name: program for program in programs(context, WISH)}
    assert ("watch" in found) is watched
    if watched:
        assert found["watch"].command[1:] == ("-m", "services.intake.watch")
    context.engine.dispose()


def test_the_process_takes_frames_until_it_is_told_to_stop(
    sqlite_context: Context, sqlite_url: str
) -> None:
    root = sqlite_context.project.root
    with sqlite_context.sessions.begin() as session:
        add_champion(session)
    settings = Settings(
        project=root,
        database_url=sqlite_url,
        ingest={"watch_folder": "inbox", "watch_interval_s": 0.05},
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "services.intake.watch"],
        env={**os.environ, **environment_of(settings)},
        cwd=Path(__file__).parents[2],
    )
    try:
        ready = ready_file(sqlite_context.project, "watch")
        wait_until(ready.is_file, 60, "the watcher is ready")
        put(root / "inbox", "frame.png", bad_images.png(1), {"objects": [CAR]})
        done = root / "inbox" / "done" / "frame.png"
        wait_until(done.is_file, 60, "the frame is taken")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30 * PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    assert frames(sqlite_context) == 1
