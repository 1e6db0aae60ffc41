"""Explanation methods behind one protocol, by name.

>>> from curation import explain
>>> explainer = explain.get("e2x", num_samples=16)

A new method is one file that implements :class:`~curation.explain.base.Explainer` and one line
in the table below; its module is imported when it is first asked for. Read
:mod:`curation.explain.e2x` first; :mod:`curation.explain.methods` has examples to copy.
"""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curation.explain.base import Explainer

__all__ = ["Explainer", "accepted", "default", "get", "names", "needs_layers", "parameters"]

# name: module of this package, class
_METHODS: dict[str, tuple[str, str]] = {
    "crp": ("methods.crp", "Crp"),
    "d_close": ("methods.d_close", "DClose"),
    "d_rise": ("methods.d_rise", "DRise"),
    "e2x": ("e2x", "E2X"),
    "exact_shapley": ("methods.exact_shapley", "ExactShapley"),
    "fgvis": ("methods.fgvis", "FGVis"),
    "g_came": ("methods.g_came", "GCame"),
    "gp_shap": ("gp_shap", "GPShap"),
    "grad_cam": ("methods.grad_cam", "GradCam"),
    "guided_backprop": ("methods.guided_backprop", "GuidedBackprop"),
    "integrated_gradients": ("methods.integrated_gradients", "IntegratedGradients"),
    "integrated_gradients_segments": (
        "methods.integrated_gradients",
        "IntegratedGradientsSegments",
    ),
    "kernel_shap": ("methods.kernel_shap", "KernelShap"),
    "leverage_shap": ("methods.kernel_shap", "LeverageShap"),
    "lime": ("methods.lime", "Lime"),
    "lrp": ("methods.lrp", "Lrp"),
    "occlusion": ("methods.occlusion", "Occlusion"),
    "odam": ("methods.odam", "Odam"),
    "pda": ("methods.pda", "Pda"),
    "permutation_shap": ("methods.permutation_shap", "PermutationShap"),
    "ramped": ("methods.ramped", "Ramped"),
    "random": ("methods.random", "RandomAttribution"),
    "vebi": ("methods.vebi", "Vebi"),
    "vx_code": ("methods.vx_code", "VxCode"),
}

# methods that look inside: their detector must be a curation.kernel.detector.WhiteBox
_NEED_LAYERS = frozenset(
    {
        "crp",
        "fgvis",
        "g_came",
        "grad_cam",
        "guided_backprop",
        "lrp",
        "odam",
        "vebi",
    }
)


def __getattr__(name: str) -> Any:
    """The protocol on first use: what only asks for names and costs need not load PyTorch."""
    if name == "Explainer":
        from curation.explain.base import Explainer

        return Explainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def names() -> tuple[str, ...]:
    """Names of the methods, sorted."""
    return tuple(sorted(_METHODS))


def needs_layers(name: str) -> bool:
    """Whether it asks for a :class:`~curation.kernel.detector.WhiteBox`, not only for scores."""
    return name in _NEED_LAYERS


def accepted(name: str, offered: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the offered parameters that the method of that name takes.

    Raises:
        ValueError: no method has this name.
    """
    taken = inspect.signature(_method(name)).parameters
    return {key: value for key, value in offered.items() if key in taken}


def parameters(name: str) -> dict[str, Any]:
    """Names and types of the parameters that the method of that name takes.

    Raises:
        ValueError: no method has this name.
    """
    method = _method(name)
    hints = typing.get_type_hints(method)
    return {key: hints.get(key, Any) for key in inspect.signature(method).parameters}


def default(name: str, parameter: str) -> Any:
    """The value of a parameter where nothing is said; None for one that the method lacks.

    Raises:
        ValueError: no method has this name.
    """
    found = inspect.signature(_method(name)).parameters.get(parameter)
    return None if found is None or found.default is inspect.Parameter.empty else found.default


def get(name: str, **parameters: Any) -> Explainer:
    """The method of that name with these parameters; ``kind`` may be given by its name.

    Raises:
        ValueError: no method has this name, or a parameter has a value it does not take.
        TypeError: the method has no such parameter.
    """
    from curation.kernel.detector import ScoreKind

    method = _method(name)
    if "kind" in parameters:
        parameters["kind"] = ScoreKind(parameters["kind"])
    return method(**parameters)


def _method(name: str) -> Callable[..., Explainer]:
    if name not in _METHODS:
        raise ValueError(f"no explanation method {name!r}; there are {', '.join(names())}")
    module, attribute = _METHODS[name]
    method: Callable[..., Explainer] = getattr(
        importlib.import_module(f"curation.explain.{module}"), attribute
    )
    return method
