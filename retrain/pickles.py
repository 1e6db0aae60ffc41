"""``torch.save`` files without their code: tensors come in, classes that others wrote do not.

PyTorch's unpickler for weights knows tensors and plain containers. Training programs put more
beside the weights, most often their arguments. A few such classes, by name, are let in as
:class:`_LeftOut`, which takes whatever the file gives it and keeps nothing: nothing of the class
itself is imported, constructed or called. Any other class is refused by name.
"""

from __future__ import annotations

import re
import shlex
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from retrain.errors import CheckpointCorrupt

_LEFT_OUT = (
    "argparse.Namespace",  # what torchvision's own training scripts save as `args`
    *("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath"),
    *("pathlib._local.Path", "pathlib._local.PosixPath", "pathlib._local.WindowsPath"),
    *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype"),
    *("numpy.dtypes.Float64DType", "numpy.dtypes.Float32DType", "numpy.dtypes.Int64DType"),
    *("datetime.datetime", "datetime.date", "datetime.timedelta"),
    *("types.SimpleNamespace", "torch.torch_version.TorchVersion"),
    *("builtins.int", "builtins.float", "builtins.list", "builtins.dict", "builtins.str"),
)
"""Figures, dates, folders and arguments; the last five are what a ``defaultdict`` makes."""
_DICTS = (
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)
"""Subclasses of ``dict``, kept as one; Lightning has its hyper-parameters in them."""
_OF_NO_NETWORK = (
    "os",
    "posix",
    "nt",
    "sys",
    "subprocess",
    "socket",
    "shutil",
    "runpy",
    "importlib",
)
"""Modules that reach the machine; nobody is told to run what wants them."""
_UNPICKLER_SAYS = re.compile(r"GLOBAL (\S+)")


class _LeftOut:
    """Stands for an object that is not wanted: takes anything, keeps nothing."""

    __slots__ = ()

    def __new__(cls, *_: object, **__: object) -> _LeftOut:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def _without_factory(*_: object) -> dict[Any, Any]:
    """Stands for ``defaultdict``: its items follow, what makes its defaults is left."""
    return {}


def load_tensors_only(path: Path) -> Any:
    """What ``torch.save`` wrote, of plain containers and tensors on the CPU.

    Raises:
        CheckpointCorrupt: damaged, or it holds objects of a class that is not known to be harmless;
            the message names the class and the command that makes safetensors of it.
    """
    known: list[Any] = [(_LeftOut, name) for name in _LEFT_OUT]
    known += [(dict, name) for name in _DICTS]
    known.append((_without_factory, "collections.defaultdict"))
    try:
        with (
            torch.serialization.safe_globals(known),
            warnings.catch_warnings(),
            path.open("rb") as file,  # by its path torch would go by its suffix
        ):
            warnings.simplefilter("ignore")  # on the protocol: what is unknown of it is an error
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a dozen unrelated types on damaged files
        raise CheckpointCorrupt(f"{path}: {_why(path, str(error), error)}") from error


def _why(path: Path, said: str, error: Exception) -> str:
    if "TorchScript" in said:
        return (
            'TorchScript, which is code; a state dict is needed: `python -c "import torch; '
            f"torch.save(torch.jit.load({str(path)!r}).state_dict(), 'weights.pth')\"`"
        )
    if "Unsupported operand" in said and zipfile.is_zipfile(path):  # noise has operands too
        return (
            "written with another protocol of pickle than that of `torch.save` (2), which cannot "
            "be read without running code. If the file is yours, make safetensors of it: "
            f"`{conversion(path)}`"
        )
    found = _UNPICKLER_SAYS.search(said)
    if found is None:
        return (
            "not a state dict of tensors only, or damaged; pickles with code are refused "
            f"({type(error).__name__})"
        )
    wants = f"a pickle that wants the code of {found[1]}; pickles with code are refused, since"
    if found[1].split(".")[0] in _OF_NO_NETWORK or "." not in found[1]:  # a builtin has no module
        return f"{wants} reading one runs it. No network needs this: the file may be an attack"
    return (
        f"{wants} reading one runs it. If the file is yours, make safetensors of it where that "
        f"class can be imported: `{conversion(path)}`"
    )


def conversion(path: Path) -> str:
    """The command that makes safetensors of a pickle; it runs the pickle's code.

    A whole module is taken with its state dict, of a checkpoint what lies under ``model``,
    ``state_dict`` or ``net``.
    """
    program = (
        "import sys, torch; from safetensors.torch import save_file; "
        "x = torch.load(sys.argv[1], map_location='cpu', weights_only=False); "
        "keys = ('model', 'state_dict', 'net'); "
        "x = next((x[k] for k in keys if k in x), x) if isinstance(x, dict) else x; "
        "x = x.state_dict() if hasattr(x, 'state_dict') else x; "
        "save_file({k: v.clone().contiguous() for k, v in x.items() "
        "if torch.is_tensor(v)}, sys.argv[2])"
    )
    target = path.with_suffix(".safetensors")
    return f'python -c "{program}" {shlex.quote(str(path))} {shlex.quote(str(target))}'
