"""The methods of ``e2x explain``: which there are, which are chosen, with what parameters."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from curation.explain.what import What, can_answer
from services.cli.common import opened, print_json, print_table
from services.cli.explain_checks import Said, in_project
from services.errors import InvalidRequest

if TYPE_CHECKING:
    from curation.explain import Explainer
    from services.config.settings import Settings


def print_methods(as_json: bool, settings: Settings) -> None:
    """Every method with what it asks of the model and what it costs here."""
    from curation import explain
    from curation.explain.about import about
    from services.config.explainers import parameters_of

    rows = []
    for name in explain.names():
        told = about(name, _samples(name, settings))
        rows.append((name, told.asks, told.cost, ", ".join(parameters_of(name))))
    if as_json:
        keys = ("name", "asks", "cost", "parameters")
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    print_table("Methods", ("name", "asks for", "cost", "parameters"), rows)


def _samples(name: str, settings: Settings) -> int | None:
    """As many as the settings give the method; None where it takes its own number, or none."""
    wanted = settings.explanation
    if name != wanted.method:
        return None
    from services.config.explainers import configured

    number: int | None = configured(wanted).parameters.get("num_samples")
    return number


def chosen(
    names: Sequence[str], compare: bool, given: Sequence[str], settings: Settings
) -> dict[str, Explainer]:
    """Methods by name, with the settings' and the command's parameters.

    Without a name: the one that is set, or with ``compare`` all but a control and a reference.

    Raises:
        InvalidRequest: a name or parameter is unknown, or a value is not taken.
    """
    from curation import explain
    from curation.explain.about import UNCOMPARED
    from services.config import explainers

    wanted = settings.explanation
    known = explain.names()
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}? There are " if close else "there are "
            raise InvalidRequest(f"no explanation method {name!r}; {hint}{', '.join(known)}")
    everything = [name for name in known if name not in UNCOMPARED]
    picked = list(dict.fromkeys(names)) or (everything if compare else [wanted.method])
    by_method = _shared_out(given, picked)
    own = {wanted.method: wanted.parameters}
    return {
        name: explainers.make(name, own.get(name, {}) | by_method[name], wanted) for name in picked
    }


def with_features(
    settings: Settings, said: Said, explainers: dict[str, Explainer]
) -> dict[str, Explainer]:
    """The same, where the method that can uses the features that were fitted for the model."""
    from services.models import features

    if features.METHOD not in explainers or not in_project(settings):
        return explainers
    from sqlalchemy import select

    from services.db.engine import reading
    from services.db.tables import Model

    root = settings.resolved_project()
    if not said.model_folder.is_relative_to(root):
        return explainers
    name = said.model_folder.relative_to(root).as_posix()
    with opened() as context:
        with reading(context.sessions) as session:
            model = session.scalar(select(Model).where(Model.folder == name))
        if model is None:
            return explainers
        fitted = features.with_features(context, model, explainers[features.METHOD])
    return explainers | {features.METHOD: fitted}


def able(explainers: dict[str, Explainer], asked: Sequence[What]) -> dict[str, Explainer]:
    """Those that can answer everything that is asked."""
    return {
        name: one
        for name, one in explainers.items()
        if all(can_answer(name, what) for what in asked)
    }


def _shared_out(given: Sequence[str], picked: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``[METHOD.]KEY=VALUE`` to the methods that take it."""
    from services.config.explainers import parameters_of

    accepted = {name: parameters_of(name) for name in picked}
    result: dict[str, dict[str, Any]] = {name: {} for name in picked}
    for text in given:
        place, equals, value = text.partition("=")
        only, dot, key = place.rpartition(".")
        takers = [name for name in picked if key in accepted[name] and only in ("", name)]
        if dot and only not in picked:
            raise InvalidRequest(f"--set {text}: {only!r} is not one of {', '.join(picked)}")
        if not equals or not takers:
            takes = sorted({key for name in picked if only in ("", name) for key in accepted[name]})
            raise InvalidRequest(
                f"--set {text}: expected [METHOD.]KEY=VALUE with a key of {', '.join(takes)}"
            )
        for name in takers:
            result[name][key] = _value(value)
    return result


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
