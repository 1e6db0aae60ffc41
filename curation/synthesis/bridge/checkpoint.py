"""What is saved of training: all that the next step depends on, without pickle."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from curation.kernel.errors import GeneratorUnusable
from curation.kernel.files import write_atomically
from curation.synthesis.bridge.network import BridgeNetwork, NetworkSize

FILE = "bridge.safetensors"
_ABOUT = "about"
_DRAWS = "draws."
_TRAINED = "trained."
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class About:
    """What the weights are.

    Attributes:
        examples: hash of what they were trained on.
        encoder: version of the encoder of the region vectors.
        size: of the network.
        recipe: all else that decided them.
        step: after which they were saved.
    """

    examples: str
    encoder: str
    size: NetworkSize
    recipe: Mapping[str, float]
    step: int

    def at(self, step: int) -> About:
        """The same after another step."""
        return replace(self, step=step)

    def to_json(self) -> str:
        """As it stands in the file."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str) -> About:
        """The reverse."""
        read = json.loads(text)
        size = read.pop("size")
        return About(size=NetworkSize(**{**size, "channels": tuple(size["channels"])}), **read)


@dataclass(slots=True, eq=False)
class State:
    """A network in training.

    Attributes:
        network: its weights.
        average: the running average of them, which draws.
        optimiser: AdamW.
    """

    network: BridgeNetwork
    average: BridgeNetwork
    optimiser: torch.optim.AdamW

    @staticmethod
    def begun(network: BridgeNetwork, learning_rate: float) -> State:
        """Before the first step."""
        average = copy.deepcopy(network).requires_grad_(False)
        # fused: hundreds of small tensors in one pass; the loop over them took longer than the rest
        optimiser = torch.optim.AdamW(
            network.parameters(), learning_rate, weight_decay=1e-2, fused=True
        )
        return State(network, average, optimiser)

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the average towards the weights."""
        for own, followed in zip(self.average.parameters(), self.network.parameters(), strict=True):
            own.lerp_(followed, 1 - decay)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of it, named."""
        told = {_DRAWS + name: value for name, value in self.average.state_dict().items()}
        told |= {_TRAINED + name: value for name, value in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            for moment in _MOMENTS:
                kept = self.optimiser.state[parameter].get(moment)
                if kept is not None:
                    told[f"{moment}.{name}"] = kept
        return {name: value.detach().cpu().contiguous().clone() for name, value in told.items()}

    def restore(self, tensors: Mapping[str, torch.Tensor], step: int) -> None:
        """Set all of it to what was saved after a step."""
        for module, prefix in ((self.average, _DRAWS), (self.network, _TRAINED)):
            module.load_state_dict(part_of(tensors, prefix))
        for name, parameter in self.network.named_parameters():
            if f"{_MOMENTS[0]}.{name}" in tensors:
                kept: dict[str, torch.Tensor] = {"step": torch.tensor(float(step))}
                for moment in _MOMENTS:
                    kept[moment] = tensors[f"{moment}.{name}"].to(parameter.device)
                self.optimiser.state[parameter] = kept


def save(folder: Path, about: About, state: State) -> None:
    """Write it whole or not at all."""
    told = {_ABOUT: about.to_json()}
    write_atomically(folder / FILE, lambda file: save_file(state.tensors(), file, told))


def resume(folder: Path, begun: About, state: State) -> int:
    """Go on where a folder left off; the steps that were done, 0 for a new one.

    Raises:
        GeneratorUnusable: it was trained on something else, or in another way, or is damaged.
    """
    if not (folder / FILE).is_file():
        return 0
    about, tensors = read(folder)
    if about.at(0) != begun:
        said = [key for key, value in asdict(begun).items() if asdict(about.at(0))[key] != value]
        raise GeneratorUnusable(
            f"{folder} holds weights that were trained with other {' and '.join(said)}: name "
            f"another folder, or remove {FILE} to begin anew"
        )
    state.restore(tensors, about.step)
    return about.step


def read(folder: Path, prefix: str = "") -> tuple[About, dict[str, torch.Tensor]]:
    """What a folder holds, on the CPU.

    Args:
        folder: of the weights.
        prefix: of the names of the tensors that are read.

    Raises:
        GeneratorUnusable: nothing is there, or it is no such file.
    """
    file = folder / FILE
    if not file.is_file():
        raise GeneratorUnusable(f"{folder} holds no {FILE}: train it first (e2x synthesis train)")
    try:
        with safe_open(file, framework="pt") as opened:
            about = About.from_json((opened.metadata() or {})[_ABOUT])
            names = [name for name in opened.keys() if name.startswith(prefix)]  # noqa: SIM118
            return about, {name: opened.get_tensor(name) for name in names}
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as problem:
        raise GeneratorUnusable(
            f"{file} is damaged or was written by another version: remove it and train again "
            f"({problem})"
        ) from problem


def drawing(folder: Path) -> tuple[About, BridgeNetwork]:
    """The network that draws.

    Raises:
        GeneratorUnusable: see :func:`read`.
    """
    about, tensors = read(folder, _DRAWS)
    network = BridgeNetwork(about.size)
    try:
        network.load_state_dict(part_of(tensors, _DRAWS))
    except RuntimeError as problem:
        raise GeneratorUnusable(f"{folder / FILE} does not fit its own description") from problem
    return about, network.eval().requires_grad_(False)


def export(folder: Path, target: Path) -> None:
    """Write what draws to a folder of its own: a quarter of what training needs.

    Args:
        folder: of the weights.
        target: does not exist yet.

    Raises:
        GeneratorUnusable: see :func:`read`.
    """
    about, tensors = read(folder, _DRAWS)
    target.mkdir(parents=True)
    told = {_ABOUT: about.to_json()}
    write_atomically(target / FILE, lambda file: save_file(tensors, file, told))


def part_of(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, Any]:
    """Those whose names begin so, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def digest(folder: Path) -> str:
    """Hash of the weights that draw and of what they are.

    Raises:
        GeneratorUnusable: see :func:`read`.
    """
    about, tensors = read(folder, _DRAWS)
    told = hashlib.sha256(about.to_json().encode())
    for name in sorted(tensors):
        told.update(name.encode() + tensors[name].numpy().tobytes())
    return told.hexdigest()[:32]
