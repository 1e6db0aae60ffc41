"""``e2x labels``: label tasks out to any tool that reads COCO, and its answers back."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy import func, select

from services.cli import label_tools
from services.cli.common import (
    FAILURE_EXIT,
    JsonOption,
    LimitOption,
    columns_of,
    console,
    opened,
    print_json,
    print_table,
)
from services.cli.label_answers import ANNOTATIONS, answers_in, print_import
from services.db.engine import reading
from services.db.tables import OPEN_TASKS, Image, LabelTask, TaskState
from services.errors import InvalidRequest

if TYPE_CHECKING:
    from services.context import Context

labels_app = typer.Typer(help="Label tasks: list, export, import.")


class Format(StrEnum):
    """What label tasks are written as."""

    COCO = "coco"
    CVAT = "cvat"


CycleOption = Annotated[int | None, typer.Option(help="Only of this cycle.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    label_tools.register(labels_app)
    app.add_typer(labels_app, name="labels", no_args_is_help=True)


@labels_app.command("list")
def list_tasks(
    state: Annotated[
        TaskState | None, typer.Option(help="Only in this state; without: the open ones.")
    ] = None,
    cycle: CycleOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List label tasks, the most urgent first, and count them by state."""
    from services.labeling import outcomes, second_look

    wanted = (state,) if state is not None else OPEN_TASKS
    query = select(LabelTask, Image.name).join(Image).where(LabelTask.state.in_(wanted))
    counts = select(LabelTask.state, func.count()).group_by(LabelTask.state)
    if cycle is not None:
        query = query.where(LabelTask.cycle_id == cycle)
        counts = counts.where(LabelTask.cycle_id == cycle)
    query = query.order_by(LabelTask.priority.desc(), LabelTask.id).limit(limit)
    with opened() as context, reading(context.sessions) as session:
        rows = session.execute(query).all()
        by_state = {row[0]: row[1] for row in session.execute(counts)}
        looks = second_look.of_all(session, [task.id for task, _ in rows])
    if as_json:
        tasks = [
            {
                **columns_of(task),
                "image_name": name,
                "outcome": outcomes.of(task, looks.get(task.id)),
            }
            for task, name in rows
        ]
        print_json({"counts": by_state, "tasks": tasks})
        return
    print_table(
        "Label tasks",
        ("#id", "cycle", "state", "what became of it", "#priority", "image", "owner", "why"),
        [
            (
                task.id,
                task.cycle_id,
                task.state,
                outcomes.WORDS[outcomes.of(task, looks.get(task.id))],
                task.priority,
                name,
                task.owner,
                task.reason.get("text", ""),
            )
            for task, name in rows
        ],
    )
    console().print(", ".join(f"{count} {name}" for name, count in by_state.items()) or "none")


@labels_app.command("answers")
def list_answers(
    by: Annotated[str, typer.Option("--by", help="Whose: the name that stands at the answers.")],
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """What became of somebody's answers, the newest first: not each one is the truth yet."""
    from services.labeling import outcomes

    with opened() as context, reading(context.sessions) as session:
        rows = outcomes.given_by(session, by, limit)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        f"Answers by {by}",
        ("#task", "cycle", "image", "#boxes", "given", "what became of it"),
        [(row.task_id, row.cycle_id, row.image_name, row.boxes, row.at, row.words) for row in rows],
    )


@labels_app.command("export")
def export(
    out: Annotated[Path, typer.Option(help="Folder to write; made where missing.")],
    cycle: CycleOption = None,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Copy the images.")] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also over annotations that are there.")
    ] = False,
    as_format: Annotated[
        Format, typer.Option("--format", help="COCO, or CVAT for images 1.1 (XML).")
    ] = Format.COCO,
) -> None:
    """Write the open label tasks as a folder, the champion's detections as pre-labels.

    Annotations that lie in the folder may hold somebody's work: other ones are not written over.
    """
    from services.labeling import coco, cvat_xml
    from services.store.storage import write_bytes

    folder = out.expanduser()
    if folder.exists() and not folder.is_dir():
        raise InvalidRequest(f"{folder} is a file: name a folder")
    with opened() as context:
        with reading(context.sessions) as session:
            document, rows = coco.export_coco(session, cycle)
        data, file = json.dumps(document, indent=1).encode(), folder / ANNOTATIONS
        if as_format is Format.CVAT:
            data, file = cvat_xml.written(document), folder / "annotations.xml"
        if not overwrite:
            _require_no_other(file, data)
        if images:
            _copy_images(context, rows, folder / "images")
    write_bytes(file, data)
    out_console = console()
    out_console.print(f"{len(rows)} tasks in {file}", markup=False)
    out_console.print(
        f"correct the boxes, then `e2x labels import {file}`",
        style="dim",
        markup=False,
    )


def _require_no_other(file: Path, data: bytes) -> None:
    """Refuse to write over annotations that are not the same.

    Raises:
        InvalidRequest: there are such.
    """
    if file.exists() and file.read_bytes() != data:
        raise InvalidRequest(
            f"{file} is there already and is not what would be written: it may hold somebody's "
            "work; name another folder, or say --overwrite"
        )


def _copy_images(context: Context, rows: list[Image], folder: Path) -> None:
    """Copy images, each whole or not at all; what an export left half written is made good."""
    from services.store.storage import image_bytes, write_bytes

    for image in rows:
        copy = folder / PurePosixPath(image.file).name
        data = image_bytes(context, image)
        if not copy.is_file() or copy.stat().st_size != len(data):
            write_bytes(copy, data)


@labels_app.command("import")
def import_labels(
    file: Annotated[
        Path, typer.Argument(help="A COCO file, XML of CVAT for images, or the exported folder.")
    ],
    author: Annotated[str, typer.Option(help="Who labelled.")] = "import",
    replace: Annotated[
        bool, typer.Option("--replace", help="Put other answers in the place of stored ones.")
    ] = False,
    take_empty: Annotated[
        bool, typer.Option("--take-empty", help="Images without objects: nothing is there.")
    ] = False,
    take_untouched: Annotated[
        bool, typer.Option("--take-untouched", help="Pre-labels as they were exported are right.")
    ] = False,
    enclose_rotated: Annotated[
        bool, typer.Option("--enclose-rotated", help="Take upright boxes around rotated ones.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Answer label tasks from a file; then, if that was the last answer, the cycle retrains.

    An image without objects may say that nothing is there, or that nobody has looked yet, and one
    with the pre-labels and their scores as they were exported may have been looked at or not. Both
    are left as they are, unless the file says `"e2x_done": true` of the image, or --take-empty or
    --take-untouched say it of all. Answers that come when the budget is spent are kept for the
    next dataset version. Importing again is safe: the exit status is 0 if all of it is stored now,
    also where all was before, and 1 if anything was left out or the file has nothing.

    An answer that is wrong is corrected with --replace, at any time. The first one stays as an
    older revision, and so do the dataset versions that have it.
    """
    from curation.formats.coco_document import read_document
    from services.labeling import coco, cvat_xml

    path = file.expanduser()
    is_xml = cvat_xml.is_cvat(path) and path.is_file()
    document = cvat_xml.read(path) if is_xml else read_document(answers_in(path))
    with opened() as context:
        report = coco.import_coco(
            context,
            document,
            author,
            replace,
            enclose_rotated=enclose_rotated,
            take_empty=take_empty,
            take_untouched=take_untouched,
        )
    if as_json:
        print_json(report.to_dict())
    else:
        print_import(report)
    if not report.is_whole:
        raise typer.Exit(FAILURE_EXIT)
