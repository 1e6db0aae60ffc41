"""What ``e2x doctor`` sees of the machine, and of settings that this installation must know."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from services.cli.findings import Finding
from services.config.settings import Settings
from services.errors import InvalidRequest

GIB = 2**30
DISK_NEEDED_BYTES, DISK_WISHED_BYTES = 1 * GIB, 10 * GIB
MEMORY_WISHED_BYTES = 4 * GIB
"""The demo's processes together take about 5 GiB; a training alone 1 to 2."""
PACKAGES = ("torch", "torchvision", "timm", "faiss-gpu", "celery", "redis", "sqlalchemy", "fastapi")


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at versions, devices, the names that settings have, disk and memory."""
    yield from _versions()
    yield _device(settings)
    yield from _precision(settings)
    yield _index(settings)
    yield from _names(settings)
    yield from _room(settings.resolved_project())


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


def _index(settings: Settings) -> Finding:
    from services.store.index_engines import engine_named

    name = settings.index.engine
    try:
        return Finding("index", "ok", engine_named(name).version())
    except InvalidRequest as error:
        return Finding("index", "fail", f"{name} is not installed", str(error))


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


def _room(root: Path) -> Iterator[Finding]:
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
