"""Weights in the forms in which people have them come in as what they are, or not at all."""

from __future__ import annotations

import argparse
import collections
import pathlib
import shlex
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from retrain.checkpoint import save
from retrain.config import DetectorConfig
from retrain.errors import CheckpointCorrupt
from retrain.pickles import conversion
from retrain.published import find, load
from retrain.ssd import build
from retrain.tensor_files import read_tensors
from retrain.weights import initialise
from tests.tiny_ssd import tiny_ssd


@pytest.fixture(scope="module")
def tiny():
    return tiny_ssd()


@pytest.fixture(scope="module")
def state(tiny):
    return tiny.state()


@pytest.fixture(scope="module")
def trained(tiny):
    """The network itself, and another of its kind."""
    networks = [build(tiny.config, seed) for seed in (1, 2)]
    networks[0].load_state_dict(tiny.state())
    return networks


def under(prefix, tensors):
    return {f"{prefix}{name}": tensor.contiguous() for name, tensor in tensors.items()}


def args():
    """What torchvision's references save beside the weights."""
    return argparse.Namespace(data_path="/data", lr=0.02, epochs=26, tags=["a"], other=None)


FORMS = {
    "plain": lambda s: s,
    "torchvision's reference": lambda s: {
        "model": s,
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
        "lr_scheduler": {"milestones": collections.Counter({16: 1})},
        "args": args(),
        "epoch": 3,
    },
    "lightning": lambda s: {
        "state_dict": {**under("model.", s), "criterion.weight": torch.ones(3)},
        "pytorch-lightning_version": "2.5.0",
        "hyper_parameters": {"lr": 1e-3},
    },
    "lightning, compiled": lambda s: {"state_dict": under("detector._orig_mod.", s)},
    "compiled": lambda s: under("_orig_mod.", s),
    "compiled, then distributed": lambda s: under("module._orig_mod.", s),
    "distributed, then compiled": lambda s: under("_orig_mod.module.", s),
    "backbone compiled": lambda s: {
        name.replace("backbone.", "backbone._orig_mod."): tensor for name, tensor in s.items()
    },
    "net": lambda s: {"epoch": 1, "net": under("module.", s)},
    "average": lambda s: {"n_averaged": torch.tensor(7), **under("module.", s)},
    "ema alone": lambda s: {"ema_state_dict": under("module.", s), "step": 3},
    "deep": lambda s: {"checkpoint": {"models": [{"student": {"net": s}}]}},
    "half": lambda s: {n: t.half() if t.is_floating_point() else t for n, t in s.items()},
    "frozen normalisation": lambda s: {n: t for n, t in s.items() if "num_batches" not in n},
    "parameters": lambda s: {n: torch.nn.Parameter(t, False) for n, t in s.items()},
    "figures beside it": lambda s: {
        "model": s,
        "best": np.float64(0.5),
        "folder": pathlib.PurePosixPath("/runs"),
        "history": collections.defaultdict(list, {"loss": [1.0]}),
    },
    "copies": lambda s: {"model": s, "model_ema": {n: t.clone() for n, t in s.items()}},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_is_read_whatever_wraps_it(form, tiny, state, tmp_path):
    torch.save(FORMS[form](state), tmp_path / "last.pth")
    found = find(tmp_path / "last.pth", tiny.config)
    assert found.num_classes == 3
    assert found.network.note == ""
    read = found.network.tensors
    assert read.keys() | {n for n in state if "num_batches" in n} == state.keys()
    for name, tensor in read.items():
        torch.testing.assert_close(tensor.float(), state[name].float(), rtol=1e-3, atol=1e-4)


def test_counters_that_are_missing_are_not_missed(tiny, state, tmp_path):
    torch.save(FORMS["frozen normalisation"](state), tmp_path / "net.pth")
    loaded = load(find(tmp_path / "net.pth", tiny.config), tiny.config).state()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[n], state[n]) for n in state if "num_batches" not in n)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("net.safetensors", "module."),
        ("net.SAFETENSORS", ""),
        ("net.pt", "_orig_mod.module."),
        ("net", "model.detector."),
    ],
)
def test_safetensors_are_known_by_their_content(prefix, name, tiny, state, tmp_path):
    save_file(under(prefix, state), tmp_path / name)
    assert load(find(tmp_path / name, tiny.config), tiny.config).version == tiny.version


@pytest.mark.parametrize("old", [False, True])
def test_torchs_own_files_are_known_by_their_content(old, tiny, state, tmp_path):
    file = tmp_path / "net.safetensors"
    torch.save({"model": state}, file, _use_new_zipfile_serialization=not old)
    assert load(find(file, tiny.config), tiny.config).version == tiny.version


def test_a_header_may_have_any_length(tmp_path):
    """640 is how an old pickle begins."""
    for length in range(1, 600):
        save_file({"x" * length: torch.zeros(1)}, tmp_path / "a.pt")
        if (tmp_path / "a.pt").read_bytes()[:2] == b"\x80\x02":
            break
    else:
        pytest.fail("no header of this length")
    assert list(read_tensors(tmp_path / "a.pt")) == ["x" * length]


def test_of_a_network_and_its_average_the_average_is_taken_and_said(tiny, trained, tmp_path):
    network, other = trained
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    file = tmp_path / "last.pth"
    states = under("module.", other.state_dict()), average.state_dict()
    for first, second in (("model", "model_ema"), ("state_dict", "state_dict_ema")):
        torch.save({first: states[0], second: states[1]}, file)
        found = find(file, tiny.config)
        assert found.network.name == second
        assert second in found.network.note
        assert first in found.network.note
        assert load(found, tiny.config).version == tiny.version
        named = find(file, tiny.config, first)
        assert load(named, tiny.config).version != tiny.version
    save_file(under("model.", states[0]) | under("ema.", average.module.state_dict()), file)
    assert find(file, tiny.config).network.name == "ema"
    with pytest.raises(CheckpointCorrupt, match=r"no network 'x' in it; there is ema, model"):
        find(file, tiny.config, "x")


def test_several_networks_are_refused_by_name(tiny, trained, tmp_path):
    teacher, student = (network.state_dict() for network in trained)
    torch.save({"state_dict": under("teacher.", teacher) | under("student.", student)},
               tmp_path / "both.ckpt")  # fmt: skip
    with pytest.raises(CheckpointCorrupt, match=r"2 networks, state_dict\.teacher, state_dict\.s"):
        find(tmp_path / "both.ckpt", tiny.config)
    assert find(tmp_path / "both.ckpt", tiny.config, "state_dict.student").network.note == ""
    torch.save({"model": under("module.", teacher), **student}, tmp_path / "both.ckpt")
    with pytest.raises(CheckpointCorrupt, match=r"2 networks, model, \(top\)"):
        find(tmp_path / "both.ckpt", tiny.config)


def spoil(state, name, value):
    spoilt = {key: tensor.clone() for key, tensor in state.items()}
    spoilt[name].view(-1)[0] = value
    return spoilt


@pytest.mark.parametrize(
    ("end", "value", "said"),
    [
        ("0.1.weight", float("nan"), r"module_list.*weight has 1 of \d+ values that are NaN"),
        ("running_mean", float("inf"), "running_mean has 1 of"),
        ("running_var", -float("inf"), "running_var has 1 of"),
        ("running_var", -1.0, "running_var has a negative variance"),
    ],
)
def test_weights_that_are_not_finite_are_refused_by_name(end, value, said, tiny, state, tmp_path):
    name = next(key for key in state if key.endswith(end) and key.startswith("head"))
    spoilt = spoil(state, name, value)
    torch.save({"model": spoilt}, tmp_path / "net.pth")
    with pytest.raises(CheckpointCorrupt, match=said):
        load(find(tmp_path / "net.pth", tiny.config), tiny.config)
    with pytest.raises(CheckpointCorrupt, match=said):
        initialise(build(tiny.config), tiny.config, str(tmp_path / "net.pth"))
    with pytest.raises(CheckpointCorrupt, match=said):
        save(tmp_path / "model", spoilt, tiny.config, None)
    assert not (tmp_path / "model").exists()


def test_what_overflows_on_the_way_in_is_refused(tiny, state, tmp_path):
    wide = {n: t.double() if t.is_floating_point() else t for n, t in state.items()}
    name = next(key for key in wide if key.endswith("0.1.weight") and key.startswith("head"))
    torch.save(spoil(wide, name, 1e300), tmp_path / "net.pth")
    with pytest.raises(CheckpointCorrupt, match=f"{name} has 1 of"):
        load(find(tmp_path / "net.pth", tiny.config), tiny.config)
    whole = {**state, name: (state[name] * 100).to(torch.int8)}
    torch.save(whole, tmp_path / "net.pth")
    with pytest.raises(CheckpointCorrupt, match="quantised"):
        load(find(tmp_path / "net.pth", tiny.config), tiny.config)


class Evil:
    def __reduce__(self):
        return (print, ("code from a pickle ran",))


class Hidden(argparse.Namespace):
    """A class of the training code."""


@pytest.mark.parametrize(
    ("beside", "named"),
    [
        (Evil(), "print"),
        (Hidden(lr=1), "Hidden"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (argparse.Namespace(hook=Evil()), "print"),
    ],
)
def test_code_is_refused_by_name_and_never_runs(beside, named, state, tmp_path, capsys):
    file = tmp_path / "my net.pth"
    torch.save({"model": state, "x": beside}, file)
    with pytest.raises(CheckpointCorrupt, match=rf"code of \S*{named}") as caught:
        read_tensors(file)
    attack = named == "print"
    assert (conversion(file) in str(caught.value)) is not attack
    assert ("may be an attack" in str(caught.value)) is attack
    assert "ran" not in capsys.readouterr().out


def test_arguments_are_let_in_without_being_made(state, tmp_path, monkeypatch):
    torch.save({"model": state, "args": args()}, tmp_path / "net.pth")
    made = []
    monkeypatch.setattr(argparse.Namespace, "__init__", lambda *a, **k: made.append(a))
    monkeypatch.setattr(argparse.Namespace, "__setattr__", lambda *a: made.append(a))
    assert read_tensors(tmp_path / "net.pth").keys() == under("model.", state).keys()
    assert made == []
    with pytest.raises(Exception, match="argparse"):  # allowed here only, and only while reading
        torch.load(tmp_path / "net.pth", weights_only=True)


def test_the_command_that_is_named_makes_what_is_read(tiny, trained, tmp_path):
    file = tmp_path / "my net.pth"
    torch.save({"model": trained[0], "optimizer": torch.nn.Linear(1, 1)}, file)
    with pytest.raises(CheckpointCorrupt, match="make safetensors"):
        read_tensors(file)
    command = conversion(file).replace("python", sys.executable, 1)
    subprocess.run(command, shell=True, check=True)
    made = file.with_suffix(".safetensors")
    assert load(find(made, tiny.config), tiny.config).version == tiny.version


def test_it_takes_a_whole_module_too(trained, tmp_path, monkeypatch):
    torch.save(trained[0], tmp_path / "net.pth")
    _, option, program, *arguments = shlex.split(conversion(tmp_path / "net.pth"))
    monkeypatch.setattr(sys, "argv", [option, *arguments])
    exec(program, {})
    assert load_file(tmp_path / "net.safetensors").keys() == trained[0].state_dict().keys()


def test_lightnings_hyper_parameters_need_no_lightning(state, tmp_path, monkeypatch):
    name = "lightning_fabric.utilities.data"
    module = types.ModuleType(name)
    module.AttributeDict = type("AttributeDict", (dict,), {"__module__": name})
    for parent in ("lightning_fabric", "lightning_fabric.utilities"):
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    monkeypatch.setitem(sys.modules, name, module)
    saved = {"state_dict": state, "hyper_parameters": module.AttributeDict(lr=1e-3, size=(3, 4))}
    torch.save(saved, tmp_path / "last.ckpt")
    monkeypatch.undo()
    assert read_tensors(tmp_path / "last.ckpt").keys() == under("state_dict.", state).keys()


def test_another_protocol_is_named(state, tmp_path):
    torch.save(state, tmp_path / "net.pth", pickle_protocol=4)
    with pytest.raises(CheckpointCorrupt, match=r"another protocol.*weights_only=False"):
        read_tensors(tmp_path / "net.pth")


def test_other_files_are_refused_with_what_they_are(tiny, state, tmp_path):
    file = tmp_path / "net.pt"
    for content, said in (
        (b"", "not a state dict"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<html>", "not a state dict"),
        ((10**9).to_bytes(8, "little") + b"{", "not a whole safetensors"),
    ):
        file.write_bytes(content)
        with pytest.raises(CheckpointCorrupt, match=said):
            read_tensors(file)
    torch.save({"epoch": 3}, file)
    with pytest.raises(CheckpointCorrupt, match="no named tensors"):
        read_tensors(file)
    with pytest.raises(CheckpointCorrupt, match="cannot be read"):
        read_tensors(tmp_path)
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(file))
    with pytest.raises(CheckpointCorrupt, match=r"TorchScript.*state_dict\(\)"):
        read_tensors(file)
    torch.save(under("model.", {n: t for n, t in state.items() if "head" not in n}), file)
    with pytest.raises(CheckpointCorrupt, match=r"no class head.* such as 'model\.backbone"):
        find(file, tiny.config)


def test_a_classifiers_file_may_be_wrapped_too(tmp_path):
    from torchvision.models import mobilenet_v3_large

    config = DetectorConfig("ssdlite320_mobilenet_v3_large", ("background", "a"), (64, 64))
    net = mobilenet_v3_large(weights=None)
    torch.save({"model": under("module.", net.state_dict()), "args": args()}, tmp_path / "c.pth")
    model = build(config)
    assert initialise(model, config, str(tmp_path / "c.pth")).source == "file"
    first = net.features[0][0].weight
    assert torch.equal(next(model.backbone.parameters()), first)


def test_timms_own_names_count_before_their_order(tmp_path):
    import timm

    config = DetectorConfig("ssdlite_efficientnet_lite0", ("background", "a"), (64, 64))
    net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    save_file(under("module.", net.state_dict()), tmp_path / "net.safetensors")  # sorts
    model = build(config)
    initialise(model, config, str(tmp_path / "net.safetensors"))
    assert torch.equal(model.backbone.stages[0].conv_stem.weight, net.conv_stem.weight)


def test_no_path_is_needed_twice(state, tmp_path):
    nested: dict[str, object] = {"model": state}
    nested["again"] = nested  # a ring
    torch.save(nested, tmp_path / "ring.pth")
    assert len(read_tensors(Path(tmp_path / "ring.pth"))) == len(state)
