"""``e2x train --suggest``: default boxes that fit the objects of the seed set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.cli.common import console, opened, print_json, print_table
from services.cli.explain import loading
from services.config.settings import PROJECT_FILE, get_settings
from services.errors import Conflict, InvalidRequest

if TYPE_CHECKING:
    from curation.kernel.manifest import ManifestItem
    from retrain.config import DetectorConfig
    from retrain.default_boxes import Coverage

MANY = 0.05
"""A share of objects that still have none that fits, from which a larger input is advised."""


def suggest(apply: bool, as_json: bool = False) -> None:
    """Print how the default boxes fit, which would fit better, and what to write for them.

    Args:
        apply: write it into the project's file.
        as_json: print JSON instead.

    Raises:
        InvalidRequest: too few objects are labelled, or the file cannot be changed.
        Conflict: workers run, which have read the settings already.
    """
    with opened() as context:
        if apply:
            _require_idle(context)
        with loading():
            found, sets = _found(context)
        file = context.project.root / PROJECT_FILE
    before, after = sets["seed"]
    lines = toml_lines(found)
    if as_json:
        told = {
            role: {"before": old.to_dict(), "after": new.to_dict()}
            for role, (old, new) in sets.items()
        }
        detector = {"scales": found.scales, "aspect_ratios": found.aspect_ratios}
        print_json({"coverage": told, "detector": detector, "applied": apply and before != after})
    else:
        _print(sets, lines, file, apply)
    if apply and before != after:
        write(file, found)
        get_settings.cache_clear()


def _found(context: Any) -> tuple[DetectorConfig, dict[str, tuple[Coverage, Coverage]]]:
    """What is proposed, and how the boxes fit each labelled set before and after."""
    from retrain.default_boxes import coverage
    from retrain.default_boxes import suggest as fitted
    from retrain.errors import TrainingDataInvalid
    from services.config import builders
    from services.db.engine import reading
    from services.db.tables import Role
    from services.models import datasets
    from services.models.classes import class_names

    with reading(context.sessions) as session:
        seed: Sequence[ManifestItem] = datasets.labelled_set(session, Role.SEED).items
        holdout = datasets.labelled_set(session, Role.HOLDOUT).items
        names = class_names(session)
    if len(names) < 2:
        raise InvalidRequest("there are no labelled objects: `e2x import FOLDER --role seed`")
    config = builders.detector_config(context.settings, names)
    try:
        suggestion = fitted(config, seed)
    except TrainingDataInvalid as error:
        raise InvalidRequest(f"the seed set: {error}") from error
    sets = {"seed": (suggestion.before, suggestion.after)}
    if holdout:
        sets["holdout"] = (coverage(config, holdout), coverage(suggestion.config, holdout))
    return suggestion.config, sets


def _print(sets: dict[str, tuple[Coverage, Coverage]], lines: str, file: Path, apply: bool) -> None:
    print_table(
        "Objects and default boxes",
        ("set", "#objects", "#none fits, now", "#then", "#mean overlap, now", "#then"),
        [
            (role, old.objects, old.unfitting, new.unfitting, old.overlap, new.overlap)
            for role, (old, new) in sets.items()
        ],
    )
    out = console()
    before, after = sets["seed"]
    if before == after:
        out.print("the default boxes of now fit as well as any that were found: nothing to change")
        return
    done = f"written to {file}" if apply else f"to use them, write into {file} (or add --apply)"
    out.print(f"{done}:\n\n{lines}", markup=False, soft_wrap=True)
    if after.unfitting >= MANY * after.objects:
        out.print(
            f"{after.unfitting} objects of the seed set still have none that fits: a larger "
            "`detector.input_height_px` and `input_width_px` puts the boxes closer together",
            style="yellow",
            soft_wrap=True,
        )


def toml_lines(config: DetectorConfig) -> str:
    """What to write into the settings."""
    ratios = ", ".join(str(list(level)) for level in config.aspect_ratios)
    return f"[detector]\nscales = {list(config.scales)}\naspect_ratios = [{ratios}]\n"


def write(file: Path, config: DetectorConfig) -> None:
    """Put default boxes into a project's file, and leave the rest of it as it is written.

    Raises:
        InvalidRequest: its ``detector`` is no table.
    """
    import tomlkit

    from services.store.storage import write_bytes

    document = tomlkit.parse(file.read_text(encoding="utf-8") if file.is_file() else "")
    table = document.setdefault("detector", tomlkit.table())
    if not hasattr(table, "items"):
        raise InvalidRequest(f"{file}: `detector` is no table")
    table["scales"] = list(config.scales)
    table["aspect_ratios"] = [list(level) for level in config.aspect_ratios]
    write_bytes(file, tomlkit.dumps(document).encode())


def _require_idle(context: Any) -> None:
    from services.worker.supervisor import running

    if running(context.project) is not None:
        raise Conflict(
            "the services are up and have read the settings: stop `e2x up`, then apply, then start "
            "it again"
        )
