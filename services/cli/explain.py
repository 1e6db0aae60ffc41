"""``e2x explain``: one image, why the detector says what it says, by any method."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from services.cli.common import FAILURE_EXIT, JsonOption, Screen, show_error
from services.cli.explain_checks import check, check_output
from services.config.settings import Settings, get_settings
from services.errors import InvalidRequest

if TYPE_CHECKING:
    from services.cli.explain_targets import Question
    from services.explaining.one_image import Outcome

MOST_IMAGES = 400
SINGLE_TOP, COMPARE_TOP = 3, 1
"""Detections that are explained where nothing is said: by one method, and by many."""

ImageArgument = Annotated[Path | None, typer.Argument(metavar="IMAGE", help="An image file.")]
MethodOption = Annotated[
    list[str] | None,
    typer.Option("--method", "-m", metavar="NAME", help="May be repeated; without: the setting."),
]
CompareOption = Annotated[
    bool, typer.Option("--compare", help="Side by side: the methods named, or all there are.")
]
ListOption = Annotated[bool, typer.Option("--list", help="List the methods and end.")]
FitOption = Annotated[
    bool,
    typer.Option(
        "--fit-features",
        help="Learn from the seed set which channels of the model tell the classes apart, and keep "
        "them with it; the method vebi then uses them.",
    ),
]
ImagesOption = Annotated[
    int | None,
    typer.Option(help="With --fit-features: of the seed set, at most; without: 400.", min=1),
]
ModelOption = Annotated[
    str,
    typer.Option(
        metavar="NUMBER|FOLDER",
        help="A model of the project, or any model folder; without: the champion.",
        show_default=False,
    ),
]
TargetOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="X1,Y1,X2,Y2:LABEL",
        help="What to explain there, found or missed, in px; may be repeated.",
    ),
]
WhyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--why",
        metavar="class:NAME|not:NAME|left|up|wide|high|box",
        help="Ask for another number than the score: a class's score, the class against another, "
        "where its box is moved; may be repeated.",
    ),
]
BoxOption = Annotated[
    tuple[float, float, float, float] | None,
    typer.Option("--box", metavar="X1 Y1 X2 Y2", help="The same, with --label."),
]
LabelOption = Annotated[str, typer.Option(help="The class that belongs to --box.")]
AllOption = Annotated[bool, typer.Option("--all", help="Every detection.")]
TopOption = Annotated[
    int | None,
    typer.Option(
        help="Only so many, the most confident first; without: 3, or 1 with --compare.", min=1
    ),
]
TruthOption = Annotated[
    Path | None,
    typer.Option(help="Annotations (COCO file, COCO, VOC or YOLO folder): explain what is wrong."),
]
SegmentsOption = Annotated[
    int | None, typer.Option("--segments", help="Superpixels asked for.", min=1)
]
SegmentationOption = Annotated[
    Literal["slic", "slic_half", "quickshift", "felzenszwalb", "grid"] | None,
    typer.Option(help="How superpixels are made."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="[METHOD.]KEY=VALUE",
        help="A parameter of the methods that take it, or of one; may be repeated.",
    ),
]
WidthOption = Annotated[
    int | None,
    typer.Option(help="Width of a panel, px; without: 900 alone, 420 of many.", min=100, max=4000),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="The picture, .png or .jpg.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)


def explain(
    image: ImageArgument = None,
    method: MethodOption = None,
    compare: CompareOption = False,
    model: ModelOption = "",
    target: TargetOption = None,
    box: BoxOption = None,
    label: LabelOption = "",
    every: AllOption = False,
    top: TopOption = None,
    truth: TruthOption = None,
    why: WhyOption = None,
    segments: SegmentsOption = None,
    segmentation: SegmentationOption = None,
    given: SetOption = None,
    output: OutputOption = None,
    panel_width: WidthOption = None,
    view: Annotated[bool, typer.Option("--open", help="Open the picture.")] = False,
    list_methods: ListOption = False,
    fit_features: FitOption = False,
    images: ImagesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw why the detector finds, or misses, something in an image: red supports, blue hurts.

    Works in a project and, with `--model FOLDER`, anywhere. Without a target it explains what
    the model detects; where it detects nothing, it lists what comes closest.
    """
    if list_methods:
        _list(as_json)
        return
    if fit_features:
        if image is not None:
            raise InvalidRequest("--fit-features looks at the seed set: name no image")
        from services.cli.explain_features import fit_features as fit

        fit(model, images or MOST_IMAGES, as_json)
        return
    if images is not None:
        raise InvalidRequest("--images belongs to --fit-features")
    if image is None:
        raise InvalidRequest("name an image: `e2x explain IMAGE`, or `e2x explain --list`")
    settings = _changed(get_settings(), segments, segmentation)
    check_output(output)
    said = check(settings, image, model, target or (), box, label, truth, every, why or ())
    with loading():
        from services.cli.explain_methods import able, chosen, with_features

        explainers = chosen(method or (), compare, given or (), settings)
        if compare and not method:
            explainers = able(explainers, [what for what, _ in said.whys])

        from services.cli.explain_output import (
            print_candidates,
            print_outcomes,
            print_outcomes_json,
            save,
        )
        from services.cli.explain_targets import ask

        asked = ask(settings, said)
        explainers = with_features(settings, said, explainers)
    many = top or (None if every or target or box else _top(len(explainers)))
    if not asked.subjects:
        print_candidates(asked, as_json)
        raise typer.Exit(FAILURE_EXIT)
    left = len(asked.subjects) // asked.numbers - many if many else 0
    asked = asked.first(many)
    outcomes, centres = _explain(asked, explainers, settings)
    if not as_json and all(one.attribution is None for row in outcomes for one in row):
        show_error(InvalidRequest(outcomes[0][0].error))
        raise typer.Exit(FAILURE_EXIT)
    wanted = output is not None or not as_json
    file = save(asked, outcomes, output, settings, panel_width) if wanted else None
    if as_json:
        print_outcomes_json(asked, outcomes, centres, file)
    else:
        print_outcomes(asked, outcomes, file, left)
    if view and file is not None:
        typer.launch(str(file))
    if all(outcome.attribution is None for row in outcomes for outcome in row):
        raise typer.Exit(FAILURE_EXIT)


def _list(as_json: bool) -> None:
    from services.cli.explain_methods import print_methods

    with loading("methods"):
        import curation.explain  # noqa: F401 - what takes its time

    print_methods(as_json, get_settings())


def _changed(settings: Settings, segments: int | None, segmentation: str | None) -> Settings:
    """The settings, with the superpixels that the options say."""
    partition = {"num_segments": segments, "segmentation": segmentation}
    changed = {key: value for key, value in partition.items() if value is not None}
    explanation = settings.explanation.model_copy(update=changed)
    return settings.model_copy(update={"explanation": explanation})


def _top(methods: int) -> int:
    return SINGLE_TOP if methods == 1 else COMPARE_TOP


def _explain(
    asked: Question, explainers: dict[str, Any], settings: Settings
) -> tuple[list[list[Outcome]], list[list[float]]]:
    """Outcomes by subject and method, and the centres of the segments."""
    from services.config import builders
    from services.explaining import one_image
    from services.explaining.sheet import segment_centres

    rules = builders.region_rules(settings)
    by_method: list[list[Outcome]] = []
    with _bar() as bar:
        task = bar.add_task("explain", total=len(explainers) + 1, note="superpixels")
        partition = asked.segments(settings)
        bar.advance(task)
        for name, explainer in explainers.items():
            bar.update(task, note=name)

            def on_inputs(count: int, name: str = name) -> None:
                bar.update(task, note=f"{name}: {count} inputs")

            by_method.append(
                one_image.run(
                    name,
                    explainer,
                    asked.detector,
                    asked.image,
                    asked.subjects,
                    partition,
                    rules,
                    on_inputs,
                )
            )
            bar.advance(task)
    size_wh = (asked.image.shape[1], asked.image.shape[0])
    return [list(row) for row in zip(*by_method, strict=True)], segment_centres(partition, size_wh)


@contextmanager
def loading(what: str = "model", screen: Console | None = None) -> Iterator[None]:
    """Say that it takes a while: PyTorch alone takes seconds to import."""
    with _on_screen(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        screen=screen,
    ) as line:
        line.add_task(f"loading the {what}", total=None)
        yield


def _bar() -> Progress:
    return _on_screen(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )


def _on_screen(*columns: ProgressColumn, screen: Console | None = None) -> Progress:
    """On standard error, gone when it is done, nothing where that is no screen."""
    screen = screen or Screen(stderr=True)
    return Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
