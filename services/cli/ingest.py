"""``e2x ingest``: field frames, with their truth or with an operator's words."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy import func, select

from services.cli.common import FAILURE_EXIT, JsonOption, console, opened, print_json
from services.cli.follow import progress
from services.cli.videos import EveryOption, KeepAlikeOption, Videos
from services.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from services.cli.truth import Truth
    from services.context import Context
    from services.intake.sidecars import Sidecar

SHOWN_REFUSALS = 20
FORM = "LABEL:X1,Y1,X2,Y2"

FramesArgument = Annotated[
    list[str], typer.Argument(metavar="FRAME…", help="Image files, folders, or globs in quotes.")
]
MissedOption = Annotated[
    list[str] | None,
    typer.Option("--missed", metavar=FORM, help="An object that the detector missed, in px."),
]
FalseOption = Annotated[
    list[str] | None,
    typer.Option("--false", metavar=FORM, help="A detection that is none, in px."),
]
EmptyOption = Annotated[
    bool, typer.Option("--empty", help="The frames hold no object: every detection is false.")
]
AnnotationsOption = Annotated[
    Path | None,
    typer.Option("--annotations", help="Their truth: a COCO file, or a COCO, VOC or YOLO folder."),
]
GroupOption = Annotated[str, typer.Option(help="Such as the drive that the frames come from.")]
AnywayOption = Annotated[
    bool,
    typer.Option(
        "--anyway", help="Explain failures even if the champion finds too little of the holdout."
    ),
]
ReporterOption = Annotated[str, typer.Option(help="Who reports them.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ingest")(ingest)


def ingest(
    frames: FramesArgument,
    missed: MissedOption = None,
    false: FalseOption = None,
    empty: EmptyOption = False,
    annotations: AnnotationsOption = None,
    group: GroupOption = "",
    reporter: ReporterOption = "command line",
    anyway: AnywayOption = False,
    every: EveryOption = None,
    keep_alike: KeepAlikeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Report field frames; failures on them are found and explained soon after.

    What is known about a frame stands in `NAME.json` beside it, `{"objects": […]}` or
    `{"reports": […]}`, in `--annotations`, or is said by `--missed`, `--false` or `--empty` for
    the frames named. A whole data set comes in by `e2x import FOLDER --role field`. Of a video one
    frame `--every` so often is reported, named by its time; what is said holds for all of them.
    Sending frames again is safe; the exit status is 1 if one was refused.
    """
    said = _said(missed or (), false or (), empty)
    if said is not None and annotations is not None:
        raise InvalidRequest("say either --annotations, or --missed, --false or --empty")
    paths = list(_files(frames))
    videos = Videos.of(paths, every, keep_alike, group or None)
    if videos.paths and annotations is not None:
        raise InvalidRequest(
            f"{videos.paths[0].name}: --annotations are about pictures that lie in files; of a "
            "video say --empty, --missed or --false, which holds for all its frames"
        )
    taken: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    with opened() as context, progress() as bars:
        newest = _newest(context)
        truth = None if annotations is None else _truth(context, annotations, refused)
        bar = bars.add_task("ingest", total=len(paths), note="")
        notes = [] if truth is None else list(truth.notes)
        for path in paths:
            if path in videos.paths:
                bars.update(bar, note=path.name)
                _ingest_video(context, path, said, reporter, videos, taken, refused, notes)
            else:
                _ingest_one(context, path, said or truth, group, reporter, taken, refused)
            bars.advance(bar)
        held = _held(context, anyway)
    for one in taken:
        one["known"] = one["frame"] <= newest
    if as_json:
        print_json({"frames": taken, "refused": refused, "notes": notes, "held": held})
    else:
        _print_outcome(taken, refused, notes)
        if held is not None:
            console().print(f"! {held}", markup=False, style="yellow", soft_wrap=True)
    if refused:
        raise typer.Exit(FAILURE_EXIT)


def _ingest_one(
    context: Context,
    path: Path,
    said: Sidecar | Truth | None,
    group: str,
    reporter: str,
    taken: list[dict[str, Any]],
    refused: list[dict[str, str]],
) -> None:
    """One frame in its own transaction: a bad one costs its neighbours nothing."""
    from services.intake.sidecars import read_words

    with _told(path, refused):
        words = read_words(path) if said is None else said
        data = path.read_bytes()
        taken.append(_report_frame(context, path, data, words, group, reporter))


def _ingest_video(
    context: Context,
    path: Path,
    said: Sidecar | None,
    reporter: str,
    videos: Videos,
    taken: list[dict[str, Any]],
    refused: list[dict[str, str]],
    notes: list[str],
) -> None:
    """The frames of a video, each as one that lies in a file."""
    from services.db.tables import Role
    from services.intake.sidecars import read_words
    from services.intake.videos import Film

    with _told(path, refused):
        words = read_words(path) if said is None else said
        film = Film(context, path, Role.FIELD, videos.options)
        for batch in film.batches():
            images = []
            for frame in batch:
                name = path.with_name(frame.name)
                with _told(name, refused):
                    one = _report_frame(context, name, frame.data, words, film.group, reporter)
                    taken.append(one)
                    images.append(one["image"])
            film.keep(images)
        refused += [{"file": str(path), "message": told} for told in film.damages()]
        notes += [f"{path.name}: {told}" for told in film.notes()]


@contextmanager
def _told(path: Path, refused: list[dict[str, str]]) -> Iterator[None]:
    """Note what is wrong with one file, and go on; what would meet the others too ends all."""
    from curation.kernel.errors import CurationError
    from services.errors import ServiceError

    try:
        yield
    except (CurationError, ServiceError, OSError) as error:
        if getattr(error, "retryable", False):
            raise  # such as a full disk
        refused.append({"file": str(path), "message": str(error)})


def _held(context: Context, anyway: bool) -> str | None:
    """Why failures wait unexplained; with ``anyway`` they do not wait any more."""
    from services.db.engine import reading
    from services.models import holding, registry

    if anyway:
        with context.sessions.begin() as session:
            champion = registry.champion(session)
            if champion is not None:
                holding.release(session, context.settings, champion)
    with reading(context.sessions) as session:
        return holding.why_champion_held(session, context.settings)


def _report_frame(
    context: Context, path: Path, data: bytes, said: Sidecar | Truth, group: str, reporter: str
) -> dict[str, Any]:
    """What became of one frame.

    Raises:
        CurationError: it, or what is said of it, cannot be used; or a ServiceError.
    """
    from services.intake.frames import ingest_frame
    from services.intake.sidecars import Sidecar

    words = said if isinstance(said, Sidecar) else said.of(path)
    frame = ingest_frame(
        context,
        data,
        path.name,
        objects=words.objects,
        reports=words.reports,
        reporter=words.reporter or reporter,
        group=words.group or group,
        source="command line",
        said_wh=words.size_wh,
    )
    return {"file": str(path), "frame": frame.id, "image": frame.image_id}


def _newest(context: Context) -> int:
    """The number of the newest frame; those that are sent again keep theirs."""
    from services.db.engine import reading
    from services.db.tables import Observation

    with reading(context.sessions) as session:
        return session.scalar(select(func.max(Observation.id))) or 0


def _truth(context: Context, annotations: Path, refused: list[dict[str, str]]) -> Truth:
    """What an annotation file says; its entries that are left out count as refused."""
    from services.cli.truth import read_truth

    truth = read_truth(annotations.expanduser(), context.settings.ingest.ignore_below_px)
    refused += [{"file": one.where, "message": one.message} for one in truth.problems]
    return truth


def _said(missed: Sequence[str], false: Sequence[str], empty: bool) -> Sidecar | None:
    """What the options say; None where they say nothing."""
    from services.intake.sidecars import Sidecar

    reports = [_report("missed", text) for text in missed]
    reports += [_report("false", text) for text in false]
    if empty and missed:
        raise InvalidRequest("--empty and --missed contradict each other")
    if not (reports or empty):
        return None
    return Sidecar(objects=[] if empty else None, reports=reports or None)


def _report(kind: str, text: str) -> dict[str, Any]:
    label, colon, numbers = text.rpartition(":")
    try:
        box = [float(number) for number in numbers.split(",")]
    except ValueError:
        box = []
    if not (colon and label and len(box) == 4):
        raise InvalidRequest(f"{text!r}: expected {FORM}, such as car:10,20,80,64")
    return {"kind": kind, "box": box, "label": label}


def _files(names: Sequence[str]) -> Iterator[Path]:
    """Files by name, those of folders, and those that match a glob; each once, in order."""
    from curation.formats.tree import image_files

    seen: set[Path] = set()
    for name in names:
        path = Path(name).expanduser()
        if path.is_dir():
            found = image_files(path)
        elif path.exists():
            found = [path]
        else:
            found = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 - absolute ones too
        if not found:
            raise NotFound(f"{name}: no such file, and no images there")
        for file in found:
            if file not in seen:
                seen.add(file)
                yield file


def _print_outcome(
    taken: list[dict[str, Any]], refused: list[dict[str, str]], notes: Sequence[str]
) -> None:
    out = console()
    known = sum(one["known"] for one in taken)
    there = f" ({known} of them already there)" if known else ""
    out.print(f"{len(taken)} frames taken in{there}, {len(refused)} refused")
    for note in notes:
        out.print(f"  {note}", markup=False, style="yellow", soft_wrap=True)
    for one in refused[:SHOWN_REFUSALS]:
        out.print(f"  {one['file']}: {one['message']}", markup=False, style="yellow")
    if len(refused) > SHOWN_REFUSALS:
        more = len(refused) - SHOWN_REFUSALS
        out.print(f"  … and {more} more: --json lists all", style="yellow")
    if taken:
        out.print("`e2x failures list` shows what is found on them", style="dim", markup=False)
