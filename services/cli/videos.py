"""What `e2x import` and `e2x ingest` share about videos: options, and which files are some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from services.intake.videos import VideoOptions

EveryOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Of a video: one frame of each 1s, 500ms, 2m; without: 1s."),
]
KeepAlikeOption = Annotated[
    bool,
    typer.Option("--keep-alike", help="Of a video: also frames that show what the last one did."),
]


@dataclass(frozen=True, slots=True)
class Videos:
    """The videos among what was named, and how their frames are taken."""

    paths: tuple[Path, ...]
    options: VideoOptions

    @classmethod
    def of(
        cls, named: Sequence[Path], every: str | None, keep_alike: bool, group: str | None
    ) -> Videos:
        """Look for videos, by their names.

        Raises:
            InvalidRequest: ``every`` is no time, or there is no video that it could be about.
            NotFound: a video is not there.
        """
        from curation.formats.video import VIDEO_SUFFIXES, is_video
        from services.intake.videos import VideoOptions, seconds_of

        paths = tuple(dict.fromkeys(path for path in named if is_video(path)))
        for path in paths:
            if not path.expanduser().is_file():
                raise NotFound(f"{path} does not exist")
        if (every is not None or keep_alike) and not paths:
            known = ", ".join(VIDEO_SUFFIXES)
            raise InvalidRequest(
                f"--every and --keep-alike are about videos, and none is named: {known}"
            )
        try:
            every_s = 1.0 if every is None else seconds_of(every)
        except ValueError as error:
            raise InvalidRequest(f"--every: {error}") from error
        return cls(paths, VideoOptions(every_s, keep_alike, group))

    def require_pool(self, role: str, part: str | None) -> None:
        """Refuse what cannot be done with the frames of videos.

        Raises:
            InvalidRequest: they are to be something else than pool images, which need no labels.
        """
        if not self.paths:
            return
        if role != "pool":
            raise InvalidRequest(
                f"{self.paths[0].name}: a video has no labels, which role {role} needs: import it "
                "with --role pool, or report its frames with `e2x ingest`"
            )
        if part is not None:
            raise InvalidRequest("--part is about folders; of a video --every takes fewer frames")


def show_seconds(bars: Progress, bar: TaskID, done_s: float, all_s: float | None) -> None:
    """Move the bar of a video on."""
    total = None if all_s is None else max(1, round(all_s))
    bars.update(bar, completed=round(done_s), total=total)
