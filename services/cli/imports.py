"""``e2x import``: data sets into the project."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from curation.kernel.errors import AnnotationsInvalid, VideoUnreadable
from services.cli.common import (
    FAILURE_EXIT,
    USAGE_EXIT,
    JsonOption,
    opened,
    print_json,
    show_error,
)
from services.cli.follow import progress
from services.cli.import_options import (
    BlockOption,
    ClassesOption,
    ClipOption,
    CopyOption,
    FormatOption,
    GroupOption,
    IgnoreOption,
    ImagesOption,
    PartOption,
    ReplaceOption,
    RoleOption,
    RotatedOption,
    SourcesArgument,
    SplitOption,
)
from services.cli.import_report import as_dict, print_report
from services.cli.videos import EveryOption, KeepAlikeOption, Videos, show_seconds
from services.errors import InvalidRequest, ServiceError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from services.context import Context
    from services.db.tables import Role
    from services.intake.imports import ImportOptions, ImportReport, Loaded, Part

BROKEN_OFF = "broke off: what is counted here is stored; the same command takes up the rest"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_sources)


def import_sources(
    sources: SourcesArgument,
    role: RoleOption,
    fmt: FormatOption = None,
    split: SplitOption = None,
    images: ImagesOption = None,
    classes: ClassesOption = None,
    group: GroupOption = None,
    ignore_below: IgnoreOption = None,
    enclose_rotated: RotatedOption = False,
    clip: ClipOption = False,
    part: PartOption = None,
    block: BlockOption = 25,
    replace_corrections: ReplaceOption = False,
    copy: CopyOption = True,
    every: EveryOption = None,
    keep_alike: KeepAlikeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Import COCO, VOC or YOLO data sets, or plain folders of images and videos for the pool.

    One bad entry is reported and costs its neighbours nothing, nor does one bad source; importing
    again adds nothing, and labels that people have corrected since stay. An image of which a box
    cannot be read is left out. Of a set with splits, what is held out there is not trained on
    here. A picture that several sources of one command name has one truth: joined where each
    source has classes of its own, else left out and named. Of a video one frame `--every` so often
    is taken, named by its time; broken off, the same command goes on. The exit status is 0 if all
    of it is in the project now, also where all was there before; 1 if anything was left out or
    there was nothing to import; 2 if a source was refused as a whole.

    Of a bucket (`s3://bucket/prefix`, with endpoint and credentials of `[storage]`) everything is
    fetched once; broken off, the same command goes on.
    """
    from services.db.tables import Role
    from services.intake.imports import ImportOptions

    options = ImportOptions(
        fmt=fmt,
        group=group,
        min_side_px=ignore_below,
        part=None if part is None else _part(part, block),
        images=None if images is None else images.expanduser(),
        splits=tuple(split or ()),
        class_names=None if classes is None else _classes(classes),
        enclose_rotated=enclose_rotated,
        clip=clip,
        replace_corrections=replace_corrections,
        keep_elsewhere=not copy,
    )
    _refuse(sources, options)
    videos = Videos.of(sources, every, keep_alike, group)
    videos.require_pool(role, part)
    outcome = _run(sources, Role(role), options, videos)
    reports = outcome.reports
    if as_json:
        print_json({source: as_dict(report) for source, report in reports.items()})
    else:
        for name, report in reports.items():
            print_report(name, report)
    for slip in outcome.broken:
        show_error(slip)
    if outcome.fatal is not None:
        raise outcome.fatal
    if outcome.broken:
        raise typer.Exit(USAGE_EXIT)
    if not all(report.complete for report in reports.values()):
        raise typer.Exit(FAILURE_EXIT)


@dataclass(slots=True)
class _Outcome:
    """What became of the sources.

    Attributes:
        reports: of those that were read, by name.
        broken: why others were refused as a whole.
        fatal: what ended the import.
    """

    reports: dict[str, ImportReport] = field(default_factory=dict)
    broken: list[Exception] = field(default_factory=list)
    fatal: Exception | None = None


def _run(sources: Sequence[Path], role: Role, options: ImportOptions, videos: Videos) -> _Outcome:
    """Read all sources, then store them: which truths contradict each other, only all can tell."""
    from sqlalchemy.exc import DBAPIError

    from services.intake.imports import agree, store
    from services.store.storage import DiskFull

    outcome = _Outcome()
    with ExitStack() as stack:
        context, bars = stack.enter_context(opened()), stack.enter_context(progress())
        loaded: list[tuple[Loaded, TaskID]] = []
        for source in (one for one in sources if one not in videos.paths):
            bar = bars.add_task(f"import {source.name}", total=None, note="reading")
            try:
                loaded.append((_loaded(stack, context, source, role, options, bars, bar), bar))
            except (AnnotationsInvalid, ServiceError) as error:
                outcome.broken.append(error)
        agree([one for one, _ in loaded], role)
        for one, bar in loaded:
            outcome.reports[_name(one)] = one.report
            try:
                store(context, one, role, options, partial(_show, bars, bar))
            except (DiskFull, DBAPIError, OSError) as error:
                one.report.notes.append(BROKEN_OFF)
                outcome.fatal = error
                break
            if one.mirror is not None:
                one.mirror.forget()
        if outcome.fatal is None:
            _run_videos(context, bars, videos, outcome)
    return outcome


def _loaded(
    stack: ExitStack,
    context: Context,
    source: Path,
    role: Role,
    options: ImportOptions,
    bars: Progress,
    bar: TaskID,
) -> Loaded:
    """A source that was read; of a bucket, once all of it is here."""
    from services.intake.bucket_source import mirrored, url_in
    from services.intake.imports import load_source

    url = url_in(source)
    if not url:
        return load_source(context, source.expanduser(), role, options)
    bars.update(bar, description=f"import {url}", note="fetching")
    mirror = stack.enter_context(mirrored(context, url, partial(_show, bars, bar)))
    found = load_source(context, mirror.source, role, options)
    found.mirror = mirror
    found.report.problems += mirror.problems
    return found


def _name(one: Loaded) -> str:
    return str(one.source) if one.mirror is None else one.mirror.url


def _refuse(sources: Sequence[Path], options: ImportOptions) -> None:
    """Refuse options that do not go together.

    Raises:
        InvalidRequest: they do not.
    """
    from services.intake.bucket_source import url_in

    folders = [source for source in sources if not url_in(source)]
    if options.keep_elsewhere and folders:
        raise InvalidRequest(f"--no-copy is for s3://bucket/prefix, and {folders[0]} is none")


def _run_videos(context: Context, bars: Progress, videos: Videos, outcome: _Outcome) -> None:
    """Bring the frames of the videos into the pool, one video after the other."""
    from sqlalchemy.exc import DBAPIError

    from services.intake.imports import ImportReport
    from services.intake.videos import import_video
    from services.store.storage import DiskFull

    for path in videos.paths:
        bar = bars.add_task(f"import {path.name}", total=None, note="s of the video")
        report = ImportReport()
        try:
            shown = partial(show_seconds, bars, bar)
            import_video(context, path.expanduser(), videos.options, shown, report)
        except VideoUnreadable as error:
            outcome.broken.append(error)
            continue
        except (DiskFull, DBAPIError, OSError) as error:
            report.notes.append(BROKEN_OFF)
            outcome.fatal = error
        outcome.reports[str(path)] = report
        if outcome.fatal is not None:
            return


def _show(bars: Progress, bar: TaskID, done: int, total: int) -> None:
    bars.update(bar, completed=done, total=total, note="")


def _classes(given: str) -> tuple[str | None, ...]:
    """Names with commas between, or the file that lists them."""
    from curation.formats.class_lists import parse_class_list, read_class_list

    file = Path(given).expanduser()
    if file.is_file():
        return read_class_list(file).names
    return parse_class_list("\n".join(given.split(",")), "--classes").names


def _part(text: str, block: int) -> Part:
    from services.intake.imports import Part

    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        raise InvalidRequest(f"--part {text}: expected K/N, such as 1/2")
    return Part(int(number), int(count), block)
