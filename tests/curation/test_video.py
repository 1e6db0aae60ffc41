"""Frames of videos: at the right times, upright, and without what is damaged."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from curation.formats.standing import Standing
from curation.formats.video import Reading, clock, frames, is_video, next_stretch_s
from curation.kernel.errors import VideoUnreadable
from curation.kernel.images import ImageLimits
from curation.kernel.types import ImageArray
from tests import films
from tests.films import drive, standing, write


def times(path: Path, every_s: float, **options: object) -> tuple[list[float], Reading]:
    found = Reading()
    taken = [round(one.time_s, 3) for one in frames(path, every_s, found, **options)]  # type: ignore[arg-type]
    return taken, found


def like(image: ImageArray, number: int) -> bool:
    """Whether a decoded picture is the drawn one of that number."""
    return float(np.abs(image.astype(np.int16) - drive(number)).mean()) < 12


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts", "mov"])
def test_one_frame_of_each_stretch_is_taken_with_its_picture(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"drive.{suffix}")
    found = Reading()

    taken = list(frames(path, 1.0, found))

    assert [round(one.time_s, 2) for one in taken] == [0.0, 1.0, 2.0, 3.0]
    assert all(like(one.image, round(one.time_s * 10)) for one in taken)
    assert found.damages == []
    assert found.decoded == 40
    assert found.duration_s == pytest.approx(4.0, abs=0.2)


@pytest.mark.parametrize(
    ("every_s", "expected"),
    [(0.5, [0.0, 0.5, 1.0, 1.5]), (0.25, [0.0, 0.3, 0.5, 0.8, 1.0, 1.3, 1.5, 1.8]), (60.0, [0.0])],
)
def test_stretches_of_any_length(tmp_path: Path, every_s: float, expected: list[float]) -> None:
    assert times(write(tmp_path / "a.mp4", count=20), every_s)[0] == expected


def test_a_varying_rate_gives_no_picture_twice(tmp_path: Path) -> None:
    shown_ms = [0, 100, 200, 2500, 2600, 7000, 7100, 8040]

    taken, found = times(write(tmp_path / "a.mkv", times_ms=shown_ms), 1.0)

    assert taken == [0.0, 2.5, 7.0, 8.04]
    assert found.damages == []


def test_it_goes_on_from_a_time_with_the_same_pictures(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4")
    whole = list(frames(path, 0.5, Reading()))

    rest = list(frames(path, 0.5, Reading(), start_s=next_stretch_s(1.5, 0.5)))

    assert [one.time_s for one in rest] == [one.time_s for one in whole[4:]]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(rest, whole[4:], strict=True))


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    (first, *_) = frames(films.turn(write(tmp_path / "a.mp4", count=5)), 1.0, Reading())

    assert first.image.shape == (160, 96, 3)
    assert like(np.rot90(first.image), 0)  # back again, counter-clockwise
    red = first.image[:32, -32:].mean(axis=(0, 1))
    assert red[0] > 200
    assert red[1] < 60


def test_damage_in_the_middle_costs_its_stretch_and_is_told(tmp_path: Path) -> None:
    path = films.damage(write(tmp_path / "a.mkv", count=100), 0.5)
    found = Reading()

    taken = list(frames(path, 0.1, found))

    assert 80 <= len(taken) < 100
    assert all(like(one.image, round(one.time_s * 10)) for one in taken)
    assert found.damages
    assert all(one.message.startswith("damaged between 00h00m0") for one in found.damages)
    assert taken[-1].time_s == pytest.approx(9.9, abs=0.01)


def test_a_recording_that_broke_off_gives_what_is_there(tmp_path: Path) -> None:
    path = films.cut(write(tmp_path / "a.mkv", count=100), 0.6)
    found = Reading()

    taken = list(frames(path, 1.0, found))

    assert len(taken) in (5, 6, 7)
    assert all(like(one.image, round(one.time_s * 10)) for one in taken)
    assert "of 00h00m10.000s: the rest is not there" in found.damages[-1].message


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.mp4", b""),
        ("text.mp4", b"no video at all\n" * 100),
        ("noise.mkv", bytes(range(256)) * 64),
    ],
)
def test_what_is_no_video_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)

    with pytest.raises(VideoUnreadable, match=name):
        list(frames(tmp_path / name, 1.0, Reading()))


def test_an_mp4_without_its_index_says_what_to_do(tmp_path: Path) -> None:
    path = films.cut(write(tmp_path / "a.mp4"), 0.5)

    with pytest.raises(VideoUnreadable, match="recorder's own tool"):
        list(frames(path, 1.0, Reading()))


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with films.av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = films.av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())

    with pytest.raises(VideoUnreadable, match="no pictures"):
        list(frames(path, 1.0, Reading()))


def test_too_large_a_video_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    with pytest.raises(VideoUnreadable, match="160x96"):
        list(frames(write(tmp_path / "a.mp4"), 1.0, Reading(), limits=ImageLimits(max_pixels=9999)))


def test_a_missing_file_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(frames(tmp_path / "none.mp4", 1.0, Reading()))


def test_only_names_of_videos_are_some(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    assert is_video(tmp_path / "A.MP4")
    assert not is_video(tmp_path / "a.jpg")
    assert not is_video(tmp_path / "folder.mp4")


def test_names_sort_as_times_do() -> None:
    said = [clock(s) for s in (0, 0.04, 1, 59.9996, 61.5, 3600, 36_000.25)]
    assert said[3:5] == ["00h01m00.000s", "00h01m01.500s"]
    assert all(first < second for first, second in pairwise(said))


def test_a_vehicle_that_stands_gives_one_frame() -> None:
    film = Standing()

    assert [film.is_new(standing(number)) for number in range(20)] == [True, *[False] * 19]


def test_a_small_thing_that_comes_into_a_standing_scene_is_new() -> None:
    """The hash alone does not see it: it has 9 by 8 points."""
    film = Standing()
    film.is_new(standing(0))
    person = standing(1)
    person[40:52, 70:76] = 255 - person[40:52, 70:76]

    assert film.is_new(person)
    assert not film.is_new(standing(2)) or film.is_new(person)


def test_a_cloud_before_the_sun_is_nothing_new() -> None:
    film = Standing()
    film.is_new(standing(0))

    darker = np.clip(standing(1).astype(np.int16) - 6, 0, 255).astype(np.uint8)

    assert not film.is_new(darker)


def test_a_drive_gives_all_frames() -> None:
    film = Standing()

    assert all(film.is_new(drive(number)) for number in range(20))
