"""Detectors that were trained elsewhere come into the registry, whole or with a reason why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from retrain.description import config_of
from retrain.detector import SsdDetector
from retrain.published import from_file
from services.db.tables import Cycle, Role
from services.models import evaluation, training
from services.selection import label_cost
from tests.services.builders import add_champion, make_image
from tests.services.commands import CommandLine
from tests.services.datasets_on_disk import pictures, write_coco
from tests.tiny_ssd import tiny_ssd

pytestmark = pytest.mark.whole

CLASS_NAMES = ("background", "car", "bus")
SETTINGS = """[detector]
input_height_px = 96
input_width_px = 96
min_scale = 0.15
[training]
finetune_epochs = 1
batch_size = 4
[workers]
threads = 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The weights of a network alone."""
    torch.save(tiny_ssd().state(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


@pytest.fixture
def detector(file: Path) -> SsdDetector:
    """The whole network; it knows cars and buses, if badly."""
    return from_file(file, replace(tiny_ssd().config, class_names=CLASS_NAMES))


@pytest.fixture
def folder(detector: SsdDetector, tmp_path: Path) -> Path:
    """A model folder as another project keeps it."""
    return detector.save(tmp_path / "elsewhere")


def models(line: CommandLine) -> list[dict[str, Any]]:
    """What is in the registry, the newest first."""
    listed: list[dict[str, Any]] = line.done("models", "list", "--json").json
    return listed


def test_the_first_becomes_the_champion_and_is_measured(
    line: CommandLine, detector: SsdDetector, folder: Path, tmp_path: Path
) -> None:
    line.done("import", write_coco(tmp_path / "held", pictures(1, 2)), "--role", "holdout")
    with line.opened() as context, context.sessions.begin() as session:
        session.add(make_image(77, Role.FIELD))
    out = line.done("models", "add", folder).out
    assert "model 1 is the champion" in out
    assert "holdout" in out
    [model] = models(line)
    assert (model["state"], model["id"]) == ("champion", detector.version)
    assert model["class_names"] == list(CLASS_NAMES)
    assert model["reports"]["holdout"]["images"] == 2
    assert SsdDetector.load(line.root / model["folder"]).version == detector.version
    [scan] = line.done("units", "list", "--json").json["units"]
    assert scan["kind"] == "scan"
    assert "is model 1 already" in line.done("models", "add", folder).out


def test_a_file_is_what_it_is_said_to_be(line: CommandLine, file: Path, tmp_path: Path) -> None:
    (line.root / "e2x.toml").write_text(SETTINGS)
    (tmp_path / "names.txt").write_text("__background__\ndisc\nsquare\n\n")
    line.done("models", "add", file, "--classes", tmp_path / "names.txt")
    assert models(line)[0]["class_names"] == ["background", "disc", "square"]
    shown = line.done("models", "show", "1", "--json").json
    assert shown["training"]["weights"] == {"source": "added", "detail": str(file)}
    config = config_of(line.root / models(line)[0]["folder"])
    assert (config.input_size_hw, config.min_scale) == ((96, 96), 0.15)


def test_beside_a_champion_it_is_a_challenger_that_knows_its_classes(
    line: CommandLine, file: Path
) -> None:
    (line.root / "e2x.toml").write_text(SETTINGS)
    with line.opened() as context, context.sessions.begin() as session:
        add_champion(session)  # knows cars
    said = line.refused("models", "add", file, "--classes", "disc,square")
    assert "does not know car" in said
    out = line.done("models", "add", file, "--classes", "car,N/A").out
    assert "`e2x models promote 2`" in out
    assert [(row["number"], row["state"]) for row in models(line)] == [
        (2, "challenger"),
        (1, "champion"),
    ]
    assert models(line)[0]["class_names"] == ["background", "car", "unused 2"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["FILE"], "add `--classes"),
        (["FILE", "--classes", " , "], "no class in"),
        (["FILE", "--classes", "0: car,bus"], "number all of them or none"),
        (["FILE", "--classes", "car,b\x1bus"], "control character"),
        (["FILE", "--classes", "gone.txt"], "gone.txt: no such file"),
        (["FOLDER", "--network", "model"], "says itself what it is"),
        (["FILE", "--classes", "a,b,c"], "2 names are needed"),
        (["FILE", "--classes", "a,a"], "a name appears twice"),
        (["FILE", "--classes", "a,b", "--architecture", "yolo"], "'yolo' is unknown"),
        (["FILE", "--classes", "a,b", "--architecture", "ssd300_vgg16"], "no class head"),
        (["FILE", "--classes", "a,b", "--default-boxes", "torchvision"], "torchvision has no"),
        (["FOLDER", "--classes", "a,b"], "says itself what it is"),
        (["nowhere.pth", "--classes", "a,b"], "no such file"),
        (["EMPTY"], "no model folder"),
    ],
)
def test_slips_say_what_to_do_and_add_nothing(
    line: CommandLine, file: Path, folder: Path, tmp_path: Path, arguments: list[str], word: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"FILE": str(file), "FOLDER": str(folder), "EMPTY": str(tmp_path / "empty")}
    given = [places.get(argument, argument) for argument in arguments]
    assert word in line.refused("models", "add", *given)
    assert models(line) == []
    assert not list((line.root / "models").glob("*"))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("classes.txt", b"0: disc\n1: square\n", ["disc", "square"]),
        ("classes.txt", "ve\u0301lo\nbus".encode("utf-16"), ["v\u00e9lo", "bus"]),
        ("data.yaml", b"nc: 2\nnames:\n  - no  # entry\n  - 'van, small'\n", ["no", "van, small"]),
        ("names.json", b'{"categories": [{"id": 2, "name": "square"}]}', ["unused 1", "square"]),
        (
            "names.json",
            b'{"categories": [{"id": 1, "name": "disc"}, {"id": 2, "name": "square"}]}',
            ["disc", "square"],
        ),
    ],
)
def test_lists_of_classes_are_read_as_what_they_are(
    line: CommandLine, file: Path, tmp_path: Path, name: str, content: bytes, expected: list[str]
) -> None:
    (line.root / "e2x.toml").write_text(SETTINGS)
    (tmp_path / name).write_bytes(content)
    line.done("models", "add", file, "--classes", tmp_path / name)
    assert models(line)[0]["class_names"] == ["background", *expected]


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("classes.txt", "v\u00e9lo\nbus\n".encode("cp1252"), "save it as UTF-8"),
        ("classes.txt", b"0: car\nbus\n", "number all of them or none"),
        ("classes.txt", b"car,bus\n", "write one name a line"),
        ("classes.txt", b"car\nbackground\n", "kept for what is no object"),
        ("data.yaml", b"names: [car, bus]\nnc: 3\n", "`nc` says 3 classes"),
    ],
)
def test_lists_of_classes_that_cannot_be_meant_are_refused(
    line: CommandLine, file: Path, tmp_path: Path, name: str, content: bytes, word: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert word in line.refused("models", "add", file, "--classes", tmp_path / name)
    assert models(line) == []


def test_of_several_networks_the_one_that_is_taken_is_said(
    line: CommandLine, file: Path, tmp_path: Path
) -> None:
    (line.root / "e2x.toml").write_text(SETTINGS)
    plain = tiny_ssd().state()
    average = {
        name: tensor + 1e-3 if tensor.is_floating_point() else tensor
        for name, tensor in plain.items()
    }
    torch.save({"model": plain, "model_ema": average}, file)
    out = line.done("models", "add", file, "--classes", "car,bus").out
    assert "model_ema was taken, the average of the weights of model" in out
    line.done("models", "add", file, "--classes", "car,bus", "--network", "model")
    newest, oldest = models(line)
    assert newest["id"] != oldest["id"]
    said = line.refused("models", "add", file, "--classes", "car,bus", "--network", "teacher")
    assert "no network 'teacher'" in said
    again = line.done("models", "add", file, "--classes", "car,bus", "--network", "model").out
    assert "0 models added: this is model 2 already, challenger" in again
    assert len(models(line)) == 2


def test_weights_that_are_not_finite_never_enter_the_registry(
    line: CommandLine, file: Path
) -> None:
    (line.root / "e2x.toml").write_text(SETTINGS)
    state = {name: tensor.clone() for name, tensor in tiny_ssd().state().items()}
    name = next(name for name in state if name.endswith("running_var"))
    state[name][0] = float("inf")
    torch.save(state, file)
    said = line.refused("models", "add", file, "--classes", "car,bus")
    assert f"{name} has 1 of" in said
    assert models(line) == []
    assert not list((line.root / "models").glob("*"))


def test_a_folders_class_names_are_kept_as_ours_are(
    line: CommandLine, file: Path, tmp_path: Path
) -> None:
    config = replace(tiny_ssd().config, class_names=("background", "ve\u0301lo", "bus"))
    folder = from_file(file, config).save(tmp_path / "elsewhere")
    line.done("models", "add", folder)
    [model] = models(line)
    assert model["class_names"] == ["background", "v\u00e9lo", "bus"]
    assert config_of(line.root / model["folder"]).class_names[1] == "v\u00e9lo"


def test_retraining_keeps_the_network_that_was_added(
    line: CommandLine, detector: SsdDetector, folder: Path, tmp_path: Path
) -> None:
    seed = write_coco(tmp_path / "seed", pictures(*range(1, 5)))
    line.done("import", seed, "--role", "seed")
    (line.root / "e2x.toml").write_text("[training]\nfinetune_epochs = 1\nbatch_size = 4\n")
    line.done("models", "add", folder)  # 96 × 96, while the settings say 320 × 320
    with line.opened() as context:
        with context.sessions.begin() as session:
            cycle = Cycle(policy="random", budget_boxes=1)
            session.add(cycle)
            session.flush()
            number = cycle.id
        trained = training.run(context, number, lambda beat: None)
        assert trained.parent_id == detector.version != trained.model_id
        assert config_of(context.project.root / trained.folder) == detector.config


def test_a_holdout_that_comes_later_tells_what_images_cost(
    line: CommandLine, folder: Path, tmp_path: Path
) -> None:
    line.done("models", "add", folder)
    with line.opened() as context:
        assert label_cost.rate_of(evaluation.measured(context, models(line)[0]["id"]).reports) == (
            label_cost.Rate(1.0)
        )
    line.done("import", write_coco(tmp_path / "held", pictures(1, 2)), "--role", "holdout")
    with line.opened() as context:
        first = evaluation.measured(context, models(line)[0]["id"])
    assert first.reports is not None
    assert first.reports["holdout"]["images"] == 2
    assert label_cost.rate_of(first.reports) != label_cost.Rate(1.0)
    line.done("import", write_coco(tmp_path / "more", pictures(3)), "--role", "holdout")
    with line.opened() as context:
        assert evaluation.measured(context, first.id).reports["holdout"]["images"] == 3
