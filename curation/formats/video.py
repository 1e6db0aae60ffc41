"""Frames of a video at a steady distance in time, upright, and what of the file could not be read.

PyAV decodes, an optional dependency. What is damaged is left out up to the next key frame, since
the pictures in between are made of parts that never stood side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curation.formats.base import Problem
from curation.kernel.errors import VideoUnreadable
from curation.kernel.images import ImageLimits
from curation.kernel.types import ImageArray

if TYPE_CHECKING:
    import av
    import av.video.frame
    import av.video.stream

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts"),
    *(".wmv", ".flv", ".h264", ".h265", ".hevc"),
)
STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
"""FFmpeg is to say what is damaged, where it would paint something over it."""
SLACK_S = 1.0
"""Containers name their length as that of the longest track: sound may go on for a moment."""
MOST_TOLD = 20
_QUARTERS = {0: 0, 90: 1, 180: 2, 270: 3}


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One picture of a video.

    Attributes:
        time_s: when it is shown, from the beginning of the video, in s.
        image: [H, W, 3] uint8, upright.
    """

    time_s: float
    image: ImageArray


@dataclass(slots=True)
class Reading:
    """What reading a video came to; filled while its frames are taken.

    Attributes:
        duration_s: as the file says, None where it does not.
        last_s: time of the last picture that was decoded.
        decoded: pictures that were decoded.
        damages: stretches that could not be read.
        notes: what else a person should know.
    """

    duration_s: float | None = None
    last_s: float = 0.0
    decoded: int = 0
    damages: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def is_video(path: Path) -> bool:
    """Whether the name of a file is one of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir()


def frames(
    path: Path,
    every_s: float,
    found: Reading,
    *,
    start_s: float = 0.0,
    limits: ImageLimits = ImageLimits(),
) -> Iterator[VideoFrame]:
    """The first picture of each stretch of ``every_s``, in order of time.

    A stretch without a picture gives none, as where a recorder with a varying rate has paused.

    Args:
        path: the file.
        every_s: length of a stretch, in s; > 0.
        found: is filled with what was met.
        start_s: pictures before it are not given; >= 0.
        limits: a video with larger pictures is refused before one is decoded.

    Yields:
        Frames with rising times.

    Raises:
        VideoUnreadable: it is no video, has no picture, or pictures beyond the limits; or PyAV is
            not installed.
        OSError: the file cannot be read.
    """
    if not every_s > 0:
        raise ValueError(f"every_s must be above 0, not {every_s}")
    library = _library()
    try:
        container = library.open(str(path))
    except library.FFmpegError as error:
        if isinstance(error, OSError) and not isinstance(error, ValueError):
            raise
        raise VideoUnreadable(
            f"{path.name}: no video that can be read ({error.strerror}); a recording that broke "
            "off may be mended by `ffmpeg` or by the recorder's own tool"
        ) from error
    with container:
        stream = _stream(container, path.name)
        _check(stream, path.name, limits)
        _describe(container, stream, found)
        stream.codec_context.options = STRICT
        if start_s > 0 and stream.time_base is not None and stream.start_time is not None:
            # It goes to the key frame before. A raw stream has no times: it is read from the start.
            ticks = int(start_s / stream.time_base) + stream.start_time
            container.seek(ticks, stream=stream)
            found.last_s = start_s
        due = _stretch(start_s, every_s)
        for time_s, frame in _decoded(container, stream, path.name, found):
            if time_s < start_s or _stretch(time_s, every_s) < due:
                continue
            due = _stretch(time_s, every_s) + 1
            yield VideoFrame(time_s, _upright(frame))
    _judge(path.name, found)


def _library() -> Any:  # a module that need not be there
    try:
        import av
    except ImportError as error:
        raise VideoUnreadable(
            "videos are read by PyAV, which is not installed: pip install 'e2x[video]'"
        ) from error
    av.logging.set_level(av.logging.PANIC)  # what is wrong is told by us, once
    return av


def next_stretch_s(time_s: float, every_s: float) -> float:
    """When the stretch begins that follows the one of a time, in s: from where to go on."""
    return (_stretch(time_s, every_s) + 1) * every_s


def _stretch(time_s: float, every_s: float) -> int:
    """Number of the stretch that a time lies in; times are multiples of a clock's tick."""
    return math.floor(time_s / every_s + 1e-6)


def _stream(container: av.container.InputContainer, name: str) -> av.video.stream.VideoStream:
    """The track of moving pictures; a cover is a track of one picture."""
    if not container.streams.video:
        raise VideoUnreadable(f"{name}: there are no pictures in it")
    best: Any = container.streams.best("video")
    found: av.video.stream.VideoStream = best or container.streams.video[0]
    return found


def _check(stream: av.video.stream.VideoStream, name: str, limits: ImageLimits) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits.max_pixels or 0 < min(width, height) < limits.min_side_px:
        raise VideoUnreadable(
            f"{name}: its pictures have {width}x{height}; allowed are sides from "
            f"{limits.min_side_px} px and {limits.max_pixels} pixels in all"
        )


def _describe(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, found: Reading
) -> None:
    if stream.duration is not None and stream.time_base is not None:
        found.duration_s = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        found.duration_s = container.duration / 1_000_000  # FFmpeg counts in microseconds
    aspect = stream.codec_context.sample_aspect_ratio
    if aspect not in (None, 0, 1):
        found.notes.append(
            f"its pixels are not square ({aspect}): frames are stored pixel by pixel, narrower or "
            "wider than a player shows them"
        )


def _decoded(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    name: str,
    found: Reading,
) -> Iterator[tuple[float, av.video.frame.VideoFrame]]:
    """Pictures that are whole, with their times; damaged stretches are noted in ``found``."""
    library = _library()
    origin = float((stream.start_time or 0) * (stream.time_base or 0))
    step_s = float(1 / stream.average_rate) if stream.average_rate else 0.0
    packets, broken_since = container.demux(stream), None
    while True:
        wrong = False
        pictures: list[av.video.frame.VideoFrame] = []
        try:
            packet = next(packets, None)
            if packet is None:
                break
            pictures = packet.decode()
        except library.FFmpegError:
            wrong = True
            if packet is None or (packet.dts is None and packet.size == 0):
                break  # the file itself ends here
        if wrong and broken_since is None:
            broken_since = found.last_s
        for picture in pictures:
            # A raw stream has no times: its pictures follow each other at its rate.
            after = found.last_s + step_s if found.decoded else 0.0
            time_s = after if picture.time is None else max(0.0, picture.time - origin)
            if picture.is_corrupt and broken_since is None:
                broken_since = found.last_s
            if broken_since is not None:
                if picture.is_corrupt or not picture.key_frame:
                    continue
                _tell(found, name, broken_since, time_s)
                broken_since = None
            found.decoded, found.last_s = found.decoded + 1, time_s
            yield time_s, picture
    if broken_since is not None:
        _tell(found, name, broken_since, None)


def _tell(found: Reading, name: str, from_s: float, to_s: float | None) -> None:
    until = "the end" if to_s is None else clock(to_s)
    told = f"damaged between {clock(from_s)} and {until}: no frame is taken from there"
    found.damages.append(Problem(name, told, "image"))


def _judge(name: str, found: Reading) -> None:
    """Tell of what is missing at the end, and keep the list to a length that people read."""
    if not found.decoded:
        raise VideoUnreadable(f"{name}: none of its pictures can be decoded")
    length = found.duration_s
    if length is not None and found.last_s + SLACK_S < length * 0.99:
        told = f"ends at {clock(found.last_s)} of {clock(length)}: the rest is not there"
        found.damages.append(Problem(name, told, "image"))
    more = len(found.damages) - MOST_TOLD
    if more > 0:
        told = f"and {more} more stretches that are damaged"
        found.damages[MOST_TOLD:] = [Problem(name, told, "image")]


def _upright(frame: av.video.frame.VideoFrame) -> ImageArray:
    """The picture as the file says that it is to be shown; only quarter turns are made."""
    turns = _QUARTERS.get(round(frame.rotation) % 360, 0)
    pixels = np.rot90(frame.to_ndarray(format="rgb24"), turns)
    upright: ImageArray = np.ascontiguousarray(pixels)
    return upright


def clock(time_s: float) -> str:
    """A time as ``01h02m03.450s``, which sorts by name as it does by time."""
    total_ms = round(time_s * 1000)
    minutes, ms = divmod(total_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}h{minutes:02d}m{ms / 1000:06.3f}s"
