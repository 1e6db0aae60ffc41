"""Methods by name from settings and text: types are given, slips are told with what is accepted."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run

import pytest

from curation import explain
from curation.explain.methods.patches import PatchSource
from curation.kernel import images
from curation.kernel.detector import ScoreKind
from services.config import builders, explainers
from services.config.setting_groups import ExplanationSettings
from services.config.settings import Settings
from services.errors import InvalidRequest
from tests.toy import textured_image

WRITTEN = (str, int, float, tuple)
"""What people can write; a fitted model or a source of patches is handed over by a program."""


def test_the_default_is_the_method_with_its_own_numbers() -> None:
    made = explainers.configured(ExplanationSettings())
    assert made == explain.get(made.name, kind=ScoreKind.LOG_ODDS)
    few = explainers.configured(ExplanationSettings(method="e2x", num_samples=5, kind="logit"))
    assert few == explain.get("e2x", num_samples=5, kind="logit")


def test_parameters_win_over_settings_and_get_their_types() -> None:
    given = {"num_samples": "7", "levels": "iid", "kind": "probability", "batch_size": None}
    wanted = ExplanationSettings(method="e2x", num_samples=16, batch_size=3, parameters=given)
    made = explainers.configured(wanted)
    assert made == explain.get("e2x", num_samples=7, levels="iid", kind="probability")


def test_the_number_of_samples_in_the_settings_is_that_of_their_own_method() -> None:
    wanted = ExplanationSettings(method="e2x", num_samples=16, kind="logit", batch_size=2)
    assert explainers.make("e2x", {}, wanted).parameters["num_samples"] == 16
    for name in explain.names():
        default = explain.default(name, "num_samples")
        if name != "e2x" and default is not None:
            assert explainers.make(name, {}, wanted).parameters["num_samples"] == default
            said = explainers.make(name, {"num_samples": 64}, wanted)
            assert said.parameters["num_samples"] == 64
    lime = explain.get("lime", kind="logit", batch_size=2)
    assert explainers.make("lime", {}, wanted) == lime  # unit and rows a pass hold for all


@pytest.mark.parametrize(
    ("method", "parameters", "words"),
    [
        ("tea_leaves", {}, "there are .*e2x"),
        ("e2x", {"leaves": 3}, "no parameter 'leaves'.* num_samples, kind, levels"),
        ("e2x", {"num_samples": "many"}, "num_samples = 'many'.*integer"),
        ("e2x", {"num_samples": 1}, "at least 2"),
        ("e2x", {"levels": "tall"}, "'grid', 'midpoint'"),
        ("e2x", {"kind": "odds"}, "kind = 'odds'.*log_odds"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    method: str, parameters: dict[str, object], words: str
) -> None:
    wanted = ExplanationSettings(method=method, parameters=parameters)
    for refuse in (explainers.check, explainers.configured):
        with pytest.raises(InvalidRequest, match=words):
            refuse(wanted)


@pytest.mark.parametrize("name", explain.names())
def test_every_parameter_of_every_method_can_be_written_as_text_or_json(name: str) -> None:
    """What a method says of itself can be given back to it."""
    own = explain.get(name)
    accepted = explainers.parameters_of(name)
    said = {
        key: value
        for key, value in own.parameters.items()
        if key in accepted and (value is None or isinstance(getattr(own, key), WRITTEN))
    }
    assert explainers.make(name, said).parameters == own.parameters


def test_parameters_come_from_the_projects_file(tmp_path: Path) -> None:
    (tmp_path / "e2x.toml").write_text(
        '[explanation]\nmethod = "e2x"\n[explanation.parameters]\nlevels = "jittered"\n'
    )
    settings = Settings(project=tmp_path)
    assert builders.explainer(settings).parameters["levels"] == "jittered"


@pytest.mark.parametrize("method", ["gp_shap", "e2x"])
def test_a_check_loads_no_network_here(method: str) -> None:
    """The process that supervises the others does not pay for PyTorch."""
    code = (
        "import sys; from services.config import explainers;"
        "from services.config.setting_groups import ExplanationSettings;"
        f"explainers.check(ExplanationSettings(method='{method}'));"
        "sys.exit('torch' in sys.modules)"
    )
    assert (
        run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode
        == 0
    )


def test_a_folder_of_images_is_a_source_of_patches(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(images.encode_png(textured_image(number)))
    made = explainers.make("pda", {"patches": str(tmp_path)})
    expected = PatchSource([textured_image(number) for number in range(3)])
    assert made.parameters["patches"] == explain.get("pda", patches=expected).parameters["patches"]
    with pytest.raises(InvalidRequest, match="no folder with images"):
        explainers.make("pda", {"patches": str(tmp_path / "none")})
