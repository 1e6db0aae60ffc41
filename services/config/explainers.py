"""Explanation methods by name, with parameters that come as text or JSON.

The only place where what a person wrote (``[explanation.parameters]`` of ``e2x.toml``,
``e2x explain --set``) meets the parameters of a method; a slip is told with what is accepted.
"""

from __future__ import annotations

import subprocess
import sys
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from services.errors import InvalidRequest

if TYPE_CHECKING:
    from curation.explain import Explainer
    from curation.explain.methods.patches import PatchSource
    from curation.explain.methods.vebi_features import FeatureModel
    from services.config.setting_groups import ExplanationSettings

PATCH_IMAGES = 40
"""As many images show what patches of a world look like."""


def configured(wanted: ExplanationSettings) -> Explainer:
    """The method that is set, with its parameters, in the precision that is set.

    Methods that look at layers run in float32 whatever is set.

    Raises:
        InvalidRequest: no method has this name, or it takes no such parameter or value.
    """
    from curation import explain
    from curation.explain.precision import InPrecision

    made = make(wanted.method, wanted.parameters, wanted)
    if wanted.mixed_precision == "no" or explain.needs_layers(wanted.method):
        return made
    return InPrecision(made, wanted.mixed_precision)


def check(wanted: ExplanationSettings) -> None:
    """Refuse a method or parameters that cannot be, before anything is started.

    A process that only supervises others must not hold PyTorch, half a GB, for as long as they
    run: the default needs no look, and another is looked at by a process that ends with it.

    Raises:
        InvalidRequest: no method has this name, or it takes no such parameter or value.
    """
    fields = type(wanted).model_fields
    if all(getattr(wanted, name) == fields[name].default for name in ("method", "parameters")):
        return
    if "torch" in sys.modules:  # it is paid for
        configured(wanted)
        return
    looked = subprocess.run(
        [sys.executable, "-m", "services.config.explainers"],
        input=wanted.model_dump_json(),
        text=True,
        capture_output=True,
        check=False,
    )
    if looked.returncode:
        configured(wanted)  # says here what is wrong


def make(
    name: str, given: Mapping[str, Any], wanted: ExplanationSettings | None = None
) -> Explainer:
    """A method with the given parameters, each of the type that the method asks for.

    Args:
        name: in the registry.
        given: values as TOML, JSON or text has them: ``"16"`` is 16 where a number is asked for.
        wanted: settings that the method takes where ``given`` says nothing: the unit of the
            score, rows a pass, and samples where it is the method of the settings. As many
            samples as one method needs may be far too few for another.

    Raises:
        InvalidRequest: no method has this name, or it takes no such parameter or value.
    """
    from curation import explain

    accepted = parameters_of(name)
    unknown = sorted(set(given) - set(accepted))
    if unknown:
        raise InvalidRequest(
            f"{name} takes no parameter {unknown[0]!r}; it takes {', '.join(accepted) or 'none'}"
        )
    values = {} if wanted is None else explain.accepted(name, _offered(name, wanted))
    values |= {key: _typed(name, key, accepted[key], value) for key, value in given.items()}
    try:
        return explain.get(name, **values)
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"{name}: {error}") from error


def parameters_of(name: str) -> dict[str, Any]:
    """Names and types of a method's parameters.

    Raises:
        InvalidRequest: no method has this name.
    """
    from curation import explain

    if name not in explain.names():
        raise InvalidRequest(
            f"no explanation method {name!r}; there are {', '.join(explain.names())}"
        )
    return explain.parameters(name)


def _offered(name: str, wanted: ExplanationSettings) -> dict[str, Any]:
    """What the settings say to a method beyond its own numbers."""
    own = wanted.num_samples if name == wanted.method else 0
    numbers = {"num_samples": own, "batch_size": wanted.batch_size}
    return {"kind": wanted.kind} | {key: value for key, value in numbers.items() if value}


def _typed(name: str, key: str, hint: Any, value: Any) -> Any:
    """The value as the type that the method declares; a name of files becomes what they hold."""
    if isinstance(value, str):
        for kind in (hint, *typing.get_args(hint)):
            if getattr(kind, "__name__", "") in _FROM_FILES:
                return _FROM_FILES[kind.__name__](Path(value).expanduser())
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a type with a configuration of its own
        adapter = TypeAdapter(hint)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise InvalidRequest(f"{name}: {key} = {value!r}: {said}") from error


def _patches(folder: Path) -> PatchSource:
    """Images of a folder that patches are learnt from, evenly picked."""
    from curation.explain.methods.patches import PatchSource
    from curation.formats.tree import image_files
    from curation.kernel import images
    from curation.kernel.batching import PIXELS_IN_FLIGHT, in_batches

    files = image_files(folder) if folder.is_dir() else []
    if not files:
        raise InvalidRequest(f"{folder}: no folder with images to learn patches from")
    step = max(1, len(files) // PATCH_IMAGES)
    # kept in memory as long as the method: the first that fit
    limits = images.ImageLimits(max_pixels=PIXELS_IN_FLIGHT)
    loaded = (images.load(file, limits) for file in files[::step][:PATCH_IMAGES])
    fitting = in_batches(loaded, lambda one: one.shape[0] * one.shape[1], PATCH_IMAGES)
    return PatchSource(next(fitting))


def _feature_model(file: Path) -> FeatureModel:
    """Weights of channels that were fitted and saved."""
    from curation.explain.methods.vebi_features import FeatureModel
    from curation.kernel.errors import ExplanationFailed

    try:
        return FeatureModel.load(file)
    except ExplanationFailed as error:
        raise InvalidRequest(str(error)) from error


_FROM_FILES: dict[str, Callable[[Path], Any]] = {
    "PatchSource": _patches,
    "FeatureModel": _feature_model,
}
"""Parameters that people name by a file or folder, by the name of their type."""


def _look() -> None:
    """Make the method of the settings on standard input; ends with an error where it cannot be."""
    from services.config.setting_groups import ExplanationSettings

    configured(ExplanationSettings.model_validate_json(sys.stdin.read()))


if __name__ == "__main__":
    _look()
