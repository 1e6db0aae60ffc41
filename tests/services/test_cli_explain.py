"""``e2x explain`` on real images with a small real detector: pictures, numbers, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.common.projects import make_model
from curation import explain
from curation.explain.about import UNCOMPARED, described
from curation.kernel import images
from curation.kernel.types import ImageArray
from retrain.detector import SsdDetector
from retrain.ssd import build
from tests.services.commands import CommandLine
from tests.tiny_ssd import tiny_ssd

BOX = "20,30,300,400"
FAST = ("--segments", "12", "--set", "num_samples=4")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder."""
    return tiny_ssd().save(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def frame(tmp_path: Path, photo: ImageArray) -> Path:
    """A photograph in a folder that is no project."""
    file = tmp_path / "astronaut.jpg"
    file.write_bytes(images.encode_jpeg(photo))
    return file


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """A command line where there is no project."""
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path)


Ask = Callable[..., dict[str, object]]


@pytest.fixture
def ask(alone: CommandLine, frame: Path, model: Path) -> Ask:
    """Explain the photograph by a few samples; the answer as JSON."""

    def run(*arguments: str | Path) -> dict[str, object]:
        chosen = () if "--compare" in arguments else ("--method", "e2x")
        said = ("explain", frame, "--model", model, *chosen, *FAST, *arguments, "--json")
        answer: dict[str, object] = alone.done(*said).json
        return answer

    return run


def test_it_explains_what_the_model_detects(ask: Ask) -> None:
    answer = ask()
    image, detector = answer["image"], tiny_ssd()
    assert isinstance(image, dict)
    assert (image["width"], image["height"]) == (512, 512)
    explained = answer["explained"]
    assert isinstance(explained, list)
    photo = images.load(Path(image["file"]))
    found = detector.predict([photo])[0].above(0.5)
    assert len(explained) == min(3, len(found)) > 0
    for row, one in enumerate(explained):
        assert one["default_box"] == found.default_boxes[row]
        assert one["probability"] == pytest.approx(float(found.scores[row]), abs=1e-4)
        (result,) = one["explanations"]
        assert result["method"] == "e2x"
        assert len(result["values"]) == len(result["standard_errors"])
        assert len(result["values"]) == answer["segments"]["count"]  # type: ignore[index]
        difference = sum(result["values"]) - (result["score"] - result["baseline_score"])
        assert result["completeness_error"] == pytest.approx(difference, abs=1e-4)
        assert result["inputs"] == 6  # four samples, image, reference: shared by all targets
        assert sum(region["weight"] for region in result["regions"]) <= 1 + 1e-6
    assert answer["picture"] is None  # nobody asked for one
    assert len(ask("--top", "1")["explained"]) == 1  # type: ignore[arg-type]


def test_a_missed_object_is_explained_at_the_box_that_should_have_found_it(ask: Ask) -> None:
    by_target = ask("--target", f"{BOX}:square")["explained"]
    by_box = ask("--box", "20", "30", "300", "400", "--label", "square")["explained"]
    by_swapped = ask("--target", f"square:{BOX}")["explained"]
    for explained in (by_target, by_box, by_swapped):
        assert isinstance(explained, list)
        (one,) = explained
        assert one["label"] == "square"
        assert one["box"] == [20, 30, 300, 400]
        (result,) = one["explanations"]
        assert np.isfinite(result["values"]).all()
    assert by_target[0]["default_box"] == by_box[0]["default_box"]  # type: ignore[index]


def test_the_picture_is_red_where_it_supports_and_has_a_caption(
    alone: CommandLine, frame: Path, model: Path, tmp_path: Path
) -> None:
    ran = alone.done("explain", frame, "--model", model, "-m", "e2x", *FAST, "--top", "1")
    assert "picture: astronaut-explained.png" in ran.out
    drawn = images.load(tmp_path / "astronaut-explained.png")
    assert drawn.shape[1] == 900 + 20
    assert drawn.shape[0] > 900 + 20  # the caption
    jpeg = tmp_path / "deep" / "why.jpg"
    alone.done(
        "explain",
        frame,
        "--model",
        model,
        "-m",
        "e2x",
        *FAST,
        "--target",
        f"{BOX}:disc",
        "-o",
        jpeg,
    )
    assert images.load(jpeg).shape == drawn.shape


def test_comparing_draws_every_method_and_a_failure_costs_no_other_its_place(
    alone: CommandLine, frame: Path, model: Path, tmp_path: Path
) -> None:
    names = ("e2x", "integrated_gradients", "random")
    methods = [part for name in names for part in ("--method", name)]
    said = ("explain", frame, "--model", model, *methods, "--compare", *FAST, "--json")
    output = tmp_path / "sheet.png"
    (one,) = alone.done(*said, "--output", output, "--panel-width", "200").json["explained"]
    assert [result["method"] for result in one["explanations"]] == list(names)
    assert images.load(output).shape[1] == 4 * 200 + 5 * 10  # the image beside three methods
    # more samples than any memory holds: one method breaks, the sheet does not
    broken = ("--set", "e2x.num_samples=100000000000000")
    (one,) = alone.done(*said, *broken).json["explained"]
    failed, *others = one["explanations"]
    assert "error" in failed
    assert "values" not in failed
    assert all("values" in result for result in others)
    only = ("explain", frame, "--model", model, "-m", "e2x", *broken)
    assert failed["error"][:20] in alone.refused(*only, code=1)


def test_truth_asks_for_what_is_wrong(
    alone: CommandLine, frame: Path, model: Path, tmp_path: Path
) -> None:
    truth = {
        "images": [{"id": 1, "file_name": frame.name, "width": 512, "height": 512}],
        "categories": [{"id": 1, "name": "square"}, {"id": 2, "name": "comet"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 40, 30]},
            {"id": 2, "image_id": 1, "category_id": 2, "bbox": [50, 50, 40, 30]},
        ],
    }
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(truth))
    said = (
        "explain",
        frame,
        "--model",
        model,
        "-m",
        "e2x",
        *FAST,
        "--truth",
        file,
        "--top",
        "2",
        "--json",
    )
    explained = alone.done(*said).json["explained"]
    assert any(
        one["box"] == [5, 5, 45, 35] for one in explained
    )  # a class it does not know is no failure
    assert all(one["words"].split()[0] in ("missed", "no", "square,", "disc,") for one in explained)


def test_in_a_project_the_champion_explains_and_superpixels_are_kept(
    tmp_path: Path, frame: Path, model: Path
) -> None:
    line = CommandLine(tmp_path / "project")
    line.done("init", line.root)
    assert "no champion" in line.refused("explain", frame)
    with line.opened() as context, context.sessions.begin() as session:
        from services.models import registry

        folder = context.project.models / "tiny"
        tiny_ssd().save(folder)
        row = make_model(1, folder="models/tiny", class_names=list(tiny_ssd().class_names))
        session.add(row)
        session.flush()
        registry.promote(session, row, "test", {})
    said = ("explain", frame, "-m", "e2x", *FAST, "--top", "1")
    assert "reports/astronaut-explained.png" in line.done(*said).out
    (kept,) = (line.root / "segments").rglob("*.npz")
    before = kept.read_bytes()
    first = line.done(*said, "--model", "1", "--json").json
    assert first["model"]["name"] == "model 1"
    assert kept.read_bytes() == before
    grid = line.done(*said, "--segmentation", "grid", "--json").json
    assert grid["segments"]["count"] == 12
    assert "models match" in line.refused("explain", frame, "--model", "7")


@pytest.fixture(scope="module")
def shy(tmp_path_factory: pytest.TempPathFactory, photo: ImageArray) -> Path:
    """The same model, sure of the background: it gives nothing in the photograph above 30 %."""
    detector = tiny_ssd()
    seen = images.decode(images.encode_jpeg(photo))
    likely = detector.propose([seen])[0].probabilities.astype(np.float64)  # [A, K]
    odds = likely[:, 1:].max(axis=1) / likely[:, 0]
    changed = build(detector.config)
    changed.load_state_dict(detector.state())
    with torch.no_grad():
        for level in changed.head.classification_head.module_list:
            background = level[-1].bias.view(-1, len(detector.class_names))[:, 0]
            background += float(np.log(odds.max() * 0.7 / 0.3))
    return SsdDetector(changed, detector.config).save(tmp_path_factory.mktemp("models") / "shy")


def test_nothing_detected_lists_what_comes_closest(
    alone: CommandLine, frame: Path, shy: Path
) -> None:
    ran = alone.run("explain", frame, "--model", shy)
    assert ran.code == 1
    assert "Candidates" in ran.out
    assert "--target" in ran.out
    answer = alone.run("explain", frame, "--model", shy, "--json")
    assert answer.code == 1
    assert answer.json["explained"] == []
    scores = [score for _, score, _ in answer.json["candidates"]]
    assert scores == sorted(scores, reverse=True)
    assert 0.2 < scores[0] < 0.31
    label, _, corners = answer.json["candidates"][0]
    (missed,) = alone.done(
        *("explain", frame, "--model", shy, "-m", "e2x", *FAST, "--json"),
        *("--target", f"{corners}:{label}"),
    ).json["explained"]
    assert missed["words"].startswith(f"missed {label}")


def test_every_method_is_listed_with_what_it_asks_and_costs(alone: CommandLine) -> None:
    assert described() >= set(explain.names())
    assert set(explain.names()) >= UNCOMPARED
    listed = alone.done("explain", "--list", "--json").json
    assert [one["name"] for one in listed] == list(explain.names())
    for one in listed:
        assert one["asks"] in ("scores", "gradients", "layers")
        assert one["cost"]
        assert (one["asks"] == "layers") == explain.needs_layers(one["name"])
    assert "gradients" in alone.done("explain", "--list").out


def test_what_a_method_costs_is_told_for_the_samples_that_it_takes(
    alone: CommandLine, frame: Path, model: Path, tmp_path: Path
) -> None:
    settings = '[explanation]\nmethod = "e2x"\nnum_samples = 6\nnum_segments = 12\n'
    (tmp_path / "e2x.toml").write_text(settings)
    costs = {one["name"]: one["cost"] for one in alone.done("explain", "--list", "--json").json}
    assert costs["e2x"].startswith("K = 6 forwards")
    assert costs["gp_shap"].startswith("128 forwards")
    said = ("explain", frame, "--model", model, "-m", "e2x", "-m", "gp_shap", "--json")
    (one,) = alone.done(*said, "--target", f"{BOX}:disc").json["explained"]
    own, other = one["explanations"]
    assert own["parameters"]["num_samples"] == 6
    assert other["parameters"]["num_samples"] == 128


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "e2y"), "did you mean e2x"),
        (("--set", "leaves=3"), "KEY=VALUE with a key of"),
        (("--set", "num_samples"), "KEY=VALUE"),
        (("--set", "lime.num_samples=3"), "not one of e2x"),
        (("--set", "num_samples=many"), "valid integer"),
        (("--target", "600,10,700,20:disc"), "outside the image of 512x512"),
        (("--target", "30,10,20,20:disc"), "empty"),
        (("--target", "1,2,3:disc"), "X1,Y1,X2,Y2:LABEL"),
        (("--target", f"{BOX}:comet"), "knows disc, square"),
        (("--box", "1", "2", "3", "4"), "belong together"),
        (("--all", "--target", f"{BOX}:disc"), "say one of"),
        (("--output", "why.gif"), ".png"),
        (("--truth", "nowhere.json"), "does not exist"),
    ],
)
def test_slips_are_one_line_that_says_what_to_do(
    alone: CommandLine, frame: Path, model: Path, arguments: tuple[str, ...], words: str
) -> None:
    method = () if "--method" in arguments else ("--method", "e2x")
    assert words in alone.refused("explain", frame, "--model", model, *method, *arguments)


def test_images_and_models_that_are_none_are_refused(
    alone: CommandLine, frame: Path, model: Path, tmp_path: Path
) -> None:
    said = ("--model", model)
    assert "name an image" in alone.refused("explain")
    assert "no such file" in alone.refused("explain", tmp_path / "no.png", *said)
    assert "folder, not an image" in alone.refused("explain", tmp_path, *said)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(frame.read_bytes()[:3000])
    assert "damaged or cut short" in alone.refused("explain", cut, *said)
    assert "--model" in alone.refused("explain", frame)
    assert "no model folder 'nowhere'" in alone.refused("explain", frame, "--model", "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no model folder" in alone.refused("explain", frame, "--model", empty, code=1)
    damaged = tmp_path / "damaged"
    tiny_ssd().save(damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "error: " in alone.refused("explain", frame, "--model", damaged, code=1)


def test_why_the_box_lies_there_and_why_this_class(ask: Ask) -> None:
    """Values of a complete method sum to how far the box is moved, and words tell the sign."""
    target = ("--target", f"{BOX}:square", "--method", "kernel_shap", "--set", "num_samples=40")
    answer = ask(*target, "--why", "box", "--why", "not:background", "--why", "class:disc")
    explained = answer["explained"]
    assert isinstance(explained, list)
    assert [one["words"].rpartition(": why ")[2] for one in explained] == [
        "left", "up", "wide", "high", "not background", "disc"
    ]  # fmt: skip
    for one in explained:
        made = {each["method"]: each for each in one["explanations"]}["kernel_shap"]
        moved = made["score"] - made["baseline_score"]
        assert sum(made["values"]) == pytest.approx(moved, abs=1e-3)
    notes = [" ".join(one["explanations"][-1]["notes"]) for one in explained]
    assert "Red pulls it left, blue right." in notes[0]
    assert "the object" in notes[0]
    assert "Red speaks for square, blue for background." in notes[4]


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("sideways", "expected class:NAME, not:NAME, left"),
        ("not:bicycle", "no class 'bicycle'"),
        ("not:square", "that very class"),
        ("not:", "expected class:NAME"),
    ],
)
def test_a_why_that_cannot_be_asked_is_told(
    alone: CommandLine, frame: Path, model: Path, why: str, words: str
) -> None:
    said = ("explain", frame, "--model", model, "--target", f"{BOX}:square", "--why", why)
    assert words in " ".join(alone.refused(*said).split())


def test_a_method_of_layers_that_is_asked_about_a_box_says_whom_to_ask(
    alone: CommandLine, frame: Path, model: Path
) -> None:
    said = ("explain", frame, "--model", model, "--target", f"{BOX}:square", "--why", "up")
    assert "gp_shap" in alone.refused(*said, "--method", "odam", code=1)
