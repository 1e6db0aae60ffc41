"""Options of ``e2x import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

SourcesArgument = Annotated[
    list[Path],
    typer.Argument(metavar="SOURCE…", help="Folders, COCO files, or s3://bucket/prefix."),
]
RoleOption = Annotated[
    Literal["seed", "pool", "field", "holdout", "siblings"],
    typer.Option(help="What the images may be used for; `holdout` and `siblings` only evaluate."),
]
FormatOption = Annotated[
    Literal["coco", "voc", "yolo", "images"] | None,
    typer.Option("--format", help="Without: found out."),
]
GroupOption = Annotated[
    str | None, typer.Option(help="Of all images, such as the drive they come from.")
]
IgnoreOption = Annotated[
    float | None,
    typer.Option(
        "--ignore-below", help="Boxes with a shorter side, in px, become ignore regions.", min=0
    ),
]
PartOption = Annotated[
    str | None,
    typer.Option(metavar="K/N", help="Only every N-th block of consecutive frames, from the K-th."),
]
SplitOption = Annotated[
    list[str] | None,
    typer.Option(
        "--split",
        metavar="NAME",
        help="Only this split, such as train; `all` for every image. Without: seed takes what is "
        "not held out, holdout takes test or val.",
    ),
]
ImagesOption = Annotated[
    Path | None,
    typer.Option("--images", help="The folder of the pictures, where it is not the annotations'."),
]
ClassesOption = Annotated[
    str | None,
    typer.Option(
        "--classes",
        help="Of YOLO files that come without a list: names with commas between, or a file.",
    ),
]
RotatedOption = Annotated[
    bool,
    typer.Option(
        "--enclose-rotated", help="Take the upright box around a rotated one, which is larger."
    ),
]
ClipOption = Annotated[
    bool, typer.Option("--clip", help="Cut boxes that leave their picture at its border.")
]
ReplaceOption = Annotated[
    bool,
    typer.Option(
        "--replace-corrections",
        help="Labels of the source take the place of what people have corrected since, too.",
    ),
]
CopyOption = Annotated[
    bool,
    typer.Option(
        "--copy/--no-copy",
        help="Of a bucket: store the pictures, or leave them there and refer to them.",
    ),
]
BlockOption = Annotated[int, typer.Option(help="Frames a block of --part.", min=1)]
