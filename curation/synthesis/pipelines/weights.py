"""Where a user's weights are, what they say of themselves, and the hash of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from curation.kernel.errors import GeneratorUnusable
from curation.synthesis.finish import first_line

INDEX = "model_index.json"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_LICENCE = re.compile(r"^licen[sc]e(?:_name)?:\s*(\S.*?)\s*$", re.MULTILINE)
_READ_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class Source:
    """Which weights are wanted.

    Attributes:
        model: folder of a pipeline as diffusers saves it, or its name on the hub, ``owner/name``.
        adapter: folder or name of an IP-Adapter; "" for pipelines that need none.
        adapter_weight: its file, relative to that.
        adapter_encoder: folder of its image encoder, relative to that; "": the pipeline's own.
        variant: "fp16" and the like, where files have such a name.
        offline: whether only this machine's files are looked at.
    """

    model: str
    adapter: str = ""
    adapter_weight: str = ""
    adapter_encoder: str = ""
    variant: str = ""
    offline: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """Weights on this machine.

    Attributes:
        folder: of the pipeline.
        class_name: of the pipeline that saved it.
        adapter: the adapter's file; None without one.
        encoder: folder of its image encoder; None: the pipeline's own.
    """

    folder: Path
    class_name: str
    adapter: Path | None
    encoder: Path | None

    @property
    def licence(self) -> str:
        """What the model card of the pipeline says; "" where there is none."""
        card = self.folder / "README.md"
        if not card.is_file():
            return ""
        found = _LICENCE.search(card.read_text(encoding="utf-8", errors="replace")[:10_000])
        return found.group(1) if found else ""

    def files(self) -> list[Path]:
        """All that is loaded from, sorted."""
        listed = [self.folder / INDEX, *self._parts(self.folder)]
        if self.adapter is not None:
            listed.append(self.adapter)
        if self.encoder is not None:
            listed += _within(self.encoder)
        return sorted(set(listed))

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Names, sizes and times of the files: other weights at the same place differ in it."""
        looked = [(file, file.stat()) for file in self.files()]
        return tuple((str(file), about.st_size, about.st_mtime_ns) for file, about in looked)

    def digest(self) -> str:
        """Hash of all files with their names within the pipeline, not of where that lies."""
        return _digest(self.stamp(), str(self.folder))

    @staticmethod
    def _parts(folder: Path) -> Iterable[Path]:
        for part in _read_index(folder):
            if not part.startswith("_") and (folder / part).is_dir():
                yield from _within(folder / part)


def find(source: Source) -> Found:
    """Look for the weights; from the hub only where ``offline`` is false.

    Raises:
        GeneratorUnusable: they are not there, or are no pipeline or adapter; the message says
            what to do.
    """
    if not source.model:
        raise GeneratorUnusable(
            "no weights were named: give `model`, a folder that diffusers saved or its name on the "
            "hub"
        )
    folder = _pipeline_folder(source)
    class_name = _read_index(folder).get("_class_name")
    if not isinstance(class_name, str):  # a list names a file of code: that is never run
        raise GeneratorUnusable(f"{folder / INDEX} names no pipeline of diffusers (_class_name)")
    adapter, encoder = _adapter(source) if source.adapter else (None, None)
    return Found(folder, class_name, adapter, encoder)


def _pipeline_folder(source: Source) -> Path:
    folder = Path(source.model).expanduser()
    if folder.is_dir():
        return folder
    if not _HUB_NAME.fullmatch(source.model):
        raise GeneratorUnusable(f"there is no folder {source.model}: `model` names one, or a hub's")
    from diffusers import DiffusionPipeline  # slow to import

    return Path(
        _fetched(
            source.model,
            source.offline,
            lambda: DiffusionPipeline.download(
                source.model,
                local_files_only=source.offline,
                variant=source.variant or None,
                use_safetensors=True,
            ),
        )
    )


def _adapter(source: Source) -> tuple[Path, Path | None]:
    root = Path(source.adapter).expanduser()
    if not source.adapter_weight.endswith(".safetensors"):
        raise GeneratorUnusable(
            f"adapter_weight {source.adapter_weight!r} must be the adapter's .safetensors file: "
            f"other formats can run code when they are read"
        )
    if not root.is_dir():
        if not _HUB_NAME.fullmatch(source.adapter):
            raise GeneratorUnusable(f"there is no folder {source.adapter} (`adapter`)")
        from huggingface_hub import snapshot_download

        wanted = [source.adapter_weight, f"{source.adapter_encoder}/*", "README.md"]
        root = Path(
            _fetched(
                source.adapter,
                source.offline,
                lambda: snapshot_download(
                    source.adapter, local_files_only=source.offline, allow_patterns=wanted
                ),
            )
        )
    weight = root / source.adapter_weight
    if not weight.is_file():
        raise GeneratorUnusable(f"there is no file {weight} (`adapter_weight`)")
    if not source.adapter_encoder:
        return weight, None
    encoder = root / source.adapter_encoder
    if not (encoder / "config.json").is_file():
        raise GeneratorUnusable(
            f"{encoder} holds no image encoder (`adapter_encoder`): it is the folder with "
            f"config.json and model.safetensors that the adapter was trained with"
        )
    return weight, encoder


def _fetched(name: str, offline: bool, fetch: Any) -> str:
    try:
        return str(fetch())
    except Exception as problem:  # a hub client raises errors of five libraries
        if offline:
            what = "on this machine; it is not looked for elsewhere unless `offline` is false"
        else:
            what = f"to be had ({type(problem).__name__}: {first_line(problem)})"
        raise GeneratorUnusable(f"{name} is not {what}") from problem


def _read_index(folder: Path) -> Mapping[str, Any]:
    file = folder / INDEX
    if not file.is_file():
        raise GeneratorUnusable(
            f"{folder} is no pipeline: it has no {INDEX}. Single files are turned into such a "
            f"folder by diffusers: Pipeline.from_single_file(...).save_pretrained(folder)"
        )
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as problem:
        raise GeneratorUnusable(f"{file} cannot be read: {problem}") from problem
    if not isinstance(read, dict):
        raise GeneratorUnusable(f"{file} is no list of a pipeline's parts")
    return read


def _within(folder: Path) -> list[Path]:
    wanted = {".safetensors", ".json", ".txt", ".model", ".jinja"}
    return [file for file in folder.rglob("*") if file.is_file() and file.suffix in wanted]


@lru_cache(maxsize=4)  # gigabytes are read: once for files of the same names, sizes and times
def _digest(stamp: tuple[tuple[str, int, int], ...], root: str) -> str:
    # by their names within the pipeline: wherever it lies, their order is the same
    named = {_name_within(Path(name), root): Path(name) for name, _, _ in stamp}
    digest = hashlib.sha256()
    for name in sorted(named):
        digest.update(f"{name}|{named[name].stat().st_size}\n".encode())
        with named[name].open("rb") as file:
            while block := file.read(_READ_AT_ONCE):
                digest.update(block)
    return digest.hexdigest()[:32]


def _name_within(file: Path, root: str) -> str:
    if file.is_relative_to(root):
        return str(file.relative_to(root))
    return f"adapter/{file.parent.name}/{file.name}"
