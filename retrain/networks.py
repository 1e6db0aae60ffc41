"""Which network of a file is meant: training code wraps its networks and keeps several.

A wrapper puts its word before every name: ``DistributedDataParallel`` and ``AveragedModel``
``module.``, ``torch.compile`` ``_orig_mod.``, a Lightning module whatever its attribute is called,
and a checkpoint the key that it keeps the state dict under. So a network is looked for by the name
of one of its tensors, and whatever stands before that name is the prefix of all of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch

from retrain.errors import CheckpointCorrupt

_WRAPPERS = frozenset(
    ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
)
"""Attributes under which a wrapper keeps what it wraps; also in the middle of a name, where a part
of a network was wrapped."""
_AVERAGED = re.compile(r"(^|[._])(ema|avg|averaged?|swa)($|[._])", re.IGNORECASE)
TOP = "(top)"
"""What a network is called whose names have no prefix."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network of a file.

    Attributes:
        name: what stood before the names of its tensors, ``TOP`` for nothing.
        tensors: by the names without that.
        note: why it was taken, where there were others; "" if it is alone.
    """

    name: str
    tensors: dict[str, torch.Tensor]
    note: str = ""


def networks_in(
    tensors: Mapping[str, torch.Tensor], anchors: Sequence[str], roots: Collection[str]
) -> list[Network]:
    """Every network of a kind that a file holds; copies of one another are one.

    Args:
        tensors: all of the file, as ``tensor_files.read_tensors`` names them.
        anchors: names that every network of the kind has one of, without prefix.
        roots: the first parts of the names of its tensors; others are no part of it, such as an
            optimiser's beside a network without prefix.
    """
    plain = _unwrapped(tensors)
    found: dict[str, Network] = {}
    for anchor in anchors:
        for name in plain:
            if name != anchor and not name.endswith(f".{anchor}"):
                continue
            prefix = name[: len(name) - len(anchor)]
            inside = {
                other.removeprefix(prefix): tensor
                for other, tensor in plain.items()
                if other.startswith(prefix) and other[len(prefix) :].split(".", 1)[0] in roots
            }
            network = Network(prefix.rstrip(".") or TOP, inside)
            if not any(_equal(inside, known.tensors) for known in found.values()):
                found.setdefault(prefix, network)
    return list(found.values())


def choose(networks: Sequence[Network], where: str, wanted: str = "") -> Network:
    """The network that is meant.

    That which was named; else the only one; else, beside one other, the average of its weights,
    which is what training code evaluates and publishes.

    Args:
        networks: at least one.
        where: the file, for messages.
        wanted: name of the network; "" leaves it to the rule.

    Raises:
        CheckpointCorrupt: none has the name, or the rule decides nothing.
    """
    listed = ", ".join(network.name for network in networks)
    if wanted:
        for network in networks:
            if network.name == wanted:
                return network
        raise CheckpointCorrupt(f"{where}: no network {wanted!r} in it; there is {listed}")
    if len(networks) == 1:
        return networks[0]
    averaged = [network for network in networks if _AVERAGED.search(network.name)]
    if len(networks) == 2 and len(averaged) == 1:
        [other] = (network for network in networks if network is not averaged[0])
        note = f"{averaged[0].name} was taken, the average of the weights of {other.name}"
        return Network(averaged[0].name, averaged[0].tensors, note)
    raise CheckpointCorrupt(
        f"{where}: holds {len(networks)} networks, {listed}: say which is meant (`e2x models add "
        "--network NAME`), or save it alone"
    )


def _unwrapped(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names without wrappers; as they are where two would become one."""
    plain = {
        ".".join(part for part in name.split(".") if part not in _WRAPPERS): tensor
        for name, tensor in tensors.items()
    }
    return plain if len(plain) == len(tensors) else dict(tensors)


def _equal(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        tensor.dtype == right[name].dtype and torch.equal(tensor, right[name])
        for name, tensor in left.items()
    )
