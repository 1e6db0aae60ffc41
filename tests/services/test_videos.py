"""``e2x import`` and ``e2x ingest`` of videos: what comes in, broken off, damaged, again."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from services.context import Context
from services.db.engine import reading
from services.db.tables import Annotation, Image, Observation, Role, Unit
from services.intake import videos
from services.intake.videos import Film, VideoOptions, fingerprint, import_video, seconds_of
from tests import films
from tests.services.builders import add_champion
from tests.services.commands import CommandLine


@pytest.fixture
def line(sqlite_context: Context, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """A command line in the project of ``sqlite_context``, which knows cars."""
    monkeypatch.setenv("E2X_DATABASE_URL", str(sqlite_context.engine.url))
    with sqlite_context.sessions.begin() as session:
        add_champion(session)
    return CommandLine(sqlite_context.project.root)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A drive of 4 s."""
    return films.write(tmp_path / "front left.mp4")


def rows(context: Context) -> list[Image]:
    with reading(context.sessions) as session:
        return list(session.scalars(select(Image).order_by(Image.name)))


def test_frames_come_in_by_time_with_the_file_as_their_group(line: CommandLine, film: Path) -> None:
    said = line.done("import", film, "--role", "pool", "--every", "500ms", "--json").json

    with line.opened() as context:
        stored = rows(context)
        mark = fingerprint(film)
        assert [one.name for one in stored] == [
            f"front left-{mark}-00h00m0{half / 2:.3f}s.jpg" for half in range(8)
        ]
        assert {one.group for one in stored} == {f"front left-{mark}"}
        assert {(one.role, one.width_px, one.height_px) for one in stored} == {("pool", 160, 96)}
        with reading(context.sessions) as session:
            assert session.scalar(select(Unit.kind)) == "embed"
    assert said[str(film)]["images_added"] == 8
    assert said[str(film)]["problems"] == []


def test_the_same_again_adds_nothing_and_says_so(line: CommandLine, film: Path) -> None:
    line.done("import", film, "--role", "pool")

    again = line.done("import", film, "--role", "pool")
    moved = line.done("import", shutil.copy(film, film.with_name("b.mp4")), "--role", "pool")

    assert "0 images added, 4 already there" in again.out
    assert "all its frames came in before: 4" in again.out
    assert "0 images added" in moved.out  # by its content it is the same video


def test_another_distance_takes_what_lies_between(line: CommandLine, film: Path) -> None:
    line.done("import", film, "--role", "pool", "--every", "1s")

    said = line.done("import", film, "--role", "pool", "--every", "500ms", "--json").json

    report = said[str(film)]
    assert (report["images_added"], report["images_known"]) == (4, 4)


def test_broken_off_it_goes_on_and_is_as_if_it_had_not(
    sqlite_context: Context, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(videos.Film.batches, "__defaults__", (3,))
    options = VideoOptions(0.25)

    with pytest.raises(KeyboardInterrupt):
        import_video(sqlite_context, film, options, _interrupt_at(2.0))
    before = len(rows(sqlite_context))
    report = import_video(sqlite_context, film, options)
    names = [one.name for one in rows(sqlite_context)]

    assert 0 < before < report.images_added + report.images_known
    assert report.images_known == before
    assert any("goes on from 00h00m02.250s" in told for told in report.notes)
    assert names == [f"{_stem(film)}-{at}.jpg" for at in _whole(sqlite_context, film, options)]


def _interrupt_at(second: float) -> object:
    def progress(done_s: float, _all_s: float | None) -> None:
        if done_s >= second:
            raise KeyboardInterrupt

    return progress


def _stem(film: Path) -> str:
    return f"{film.stem}-{fingerprint(film)}"


def _whole(context: Context, film: Path, options: VideoOptions) -> list[str]:
    """The times of all frames, by a role of which nothing is noted."""
    whole = Film(context, film, Role.SIBLINGS, options)
    frames = [frame for batch in whole.batches() for frame in batch]
    return [frame.name.removeprefix(f"{whole.name}-").removesuffix(".jpg") for frame in frames]


def test_what_was_noted_is_not_believed_when_its_images_are_gone(
    sqlite_context: Context, film: Path
) -> None:
    import_video(sqlite_context, film, VideoOptions())
    with sqlite_context.sessions.begin() as session:
        session.execute(delete(Image))

    report = import_video(sqlite_context, film, VideoOptions())

    assert report.images_added == 4


def test_a_note_that_cannot_be_read_doubles_nothing(sqlite_context: Context, film: Path) -> None:
    import_video(sqlite_context, film, VideoOptions())
    (note,) = (sqlite_context.project.state / "videos").iterdir()
    note.write_text('{"images": [', encoding="utf-8")

    report = import_video(sqlite_context, film, VideoOptions())

    assert (report.images_added, report.images_known) == (0, 4)


def test_a_vehicle_that_stands_is_thinned_unless_asked(line: CommandLine, tmp_path: Path) -> None:
    path = films.write(tmp_path / "light.mp4", films.standing)

    thin = line.done("import", path, "--role", "pool", "--every", "500ms")
    full = line.done("import", path, "--role", "pool", "--every", "500ms", "--keep-alike")

    assert "1 images added" in thin.out
    assert "7 frames show what the one before them does" in thin.out
    assert "7 images added" in full.out


def test_a_damaged_video_gives_what_is_readable_and_tells(
    line: CommandLine, tmp_path: Path
) -> None:
    path = films.cut(films.write(tmp_path / "a.mkv", count=100), 0.6)

    ran = line.run("import", path, "--role", "pool", "--json")
    again = line.run("import", path, "--role", "pool", "--json")

    report = ran.json[str(path)]
    assert ran.code == again.code == 1
    assert report["images_added"] >= 5
    assert "the rest is not there" in report["problems"][-1]["message"]
    assert again.json[str(path)]["images_added"] == 0
    assert again.json[str(path)]["problems"] == report["problems"]


def test_what_is_no_video_costs_its_neighbours_nothing(
    line: CommandLine, film: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.mp4").write_text("no video")

    ran = line.run("import", tmp_path / "text.mp4", film, "--role", "pool", "--json")

    assert ran.code == 2
    assert "text.mp4: no video that can be read" in ran.err
    assert ran.json[str(film)]["images_added"] == 4


def test_frames_with_what_is_said_of_all_of_them_are_reported(
    line: CommandLine, film: Path
) -> None:
    said = line.done("ingest", film, "--every", "2s", "--empty", "--json").json
    again = line.done("ingest", film, "--every", "2s", "--empty", "--json").json

    assert len(said["frames"]) == 2
    assert again["frames"] == []
    with line.opened() as context:
        assert {one.role for one in rows(context)} == {"field"}
    with line.opened() as context, reading(context.sessions) as session:
        assert len(list(session.scalars(select(Observation)))) == 2
        assert [one.objects for one in session.scalars(select(Annotation))] == [[], []]


def test_truth_of_single_frames_needs_them_as_files(
    line: CommandLine, film: Path, tmp_path: Path
) -> None:
    said = line.refused("ingest", film, "--annotations", tmp_path / "truth.json")

    assert "pictures that lie in files" in said


def test_a_video_of_which_nothing_is_said_is_refused_once(line: CommandLine, film: Path) -> None:
    ran = line.run("ingest", film, "--json")

    assert ran.code == 1
    (refused,) = ran.json["refused"]
    assert "nothing is said about it" in refused["message"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--role", "seed"), "a video has no labels"),
        (("--role", "pool", "--every", "soon"), "'soon' is no time"),
        (("--role", "pool", "--every", "0s"), "'0s' is no time"),
        (("--role", "pool", "--part", "1/2"), "--every takes fewer frames"),
    ],
)
def test_what_cannot_be_done_with_a_video_is_said(
    line: CommandLine, film: Path, arguments: tuple[str, ...], said: str
) -> None:
    assert said in line.refused("import", film, *arguments)


def test_every_without_a_video_is_a_slip(line: CommandLine, tmp_path: Path) -> None:
    assert "none is named" in line.refused("import", tmp_path, "--role", "pool", "--every", "1s")
    missing = line.refused("import", tmp_path / "none.mp4", "--role", "pool")
    assert "does not exist" in missing


def test_without_the_library_it_is_said_how_to_get_it(
    line: CommandLine, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)

    assert "pip install 'e2x[video]'" in line.refused("import", film, "--role", "pool")


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("500ms", 0.5), ("0.5", 0.5), ("2m", 120), (" 1 H ", 3600)]
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == pytest.approx(seconds)
