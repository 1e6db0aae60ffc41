"""What texts for people name is there: modules, commands, options, targets, variables, settings.

Also what docstrings point to: a reader who follows one must arrive.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.main import get_command

from services.cli import make_app
from services.config.settings import Settings

ROOT = Path(__file__).parents[2]
TREES = ("curation", "retrain", "services", "benchmarks", "tests", "docs")
TEXTS = [
    page
    for page in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "deploy/README.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "curation").rglob("*.md")),
    )
    if "_build" not in page.parts and page.name != "changelog.md"  # which tells of what was
]
every_text = pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))


def code_of(page: Path) -> Iterator[str]:
    """Code spans, and the lines of code blocks without what explains them."""
    text = page.read_text()
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            yield re.split(r"\s{2,}|\s#", line.strip())[0]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    for span in re.findall(r"`([^`]+)`", prose):
        yield " ".join(span.split())


def exists(name: str) -> bool:
    """Whether there is such a module, and in it what the rest of the name says."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                source = file.read_text()
                return all(re.search(rf"\b{part}\b", source) for part in parts[length:])
    return False


@every_text
def test_modules_that_are_run_exist(page: Path) -> None:
    for code in code_of(page):
        for name in re.findall(r"python -m ([\w.]+)", code):
            if name.split(".")[0] in TREES:
                path = ROOT.joinpath(*name.split("."))
                runs = path.with_suffix(".py"), path / "__main__.py"
                assert any(f.is_file() and "__main__" in f.read_text() + f.name for f in runs), name


@every_text
def test_files_that_are_named_exist(page: Path) -> None:
    for code in code_of(page):
        for name in re.findall(rf"(?<![\w./-])((?:{'|'.join(TREES)}|deploy)/[\w/.*-]*[\w/])", code):
            if not name.startswith(("benchmarks/.cache", "docs/_build")):
                assert any(ROOT.glob(name.rstrip("/"))), name


@every_text
def test_commands_and_their_options_exist(page: Path) -> None:
    for code in code_of(page):
        for said in re.findall(r"(?:^|[/ ])e2x ([a-z].*)", code):
            _check_command(said.split(" -- ")[0])


@functools.cache
def _program() -> Any:
    """The command line; to make it takes a third of a second, and the pages name hundreds."""
    return get_command(make_app())


def _check_command(said: str) -> None:
    try:
        words = shlex.split(said.rstrip("&"))
    except ValueError:  # a quotation that goes on elsewhere
        words = said.split()
    command = _program()
    for word in list(words):
        children = getattr(command, "commands", {})
        if not children:
            break
        if not re.fullmatch(r"[a-z-]+", word):
            return  # a placeholder
        assert word in children, f"e2x {said}: no {word!r}"
        command = children[words.pop(0)]
    options = {"--help"} | {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
    for word in words:
        if re.match(r"-{1,2}[a-z]", word):
            assert word.split("=")[0] in options, f"e2x {said}: no {word}"


PROGRAMS = ("LABEL_STUDIO", "MLFLOW_SERVER", "HELM", "HADOLINT")
OF_TESTS = {
    f"E2X_{name}" for name in ("PAUSES", "PICTURES_OF", "IMAGE_BASE", "CI_IMAGES", *PROGRAMS)
}
"""Variables that tests read, and no program."""


@every_text
def test_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for code in code_of(page):
        for name in re.findall(r"(?:^| )make ([a-z]+)\b", code):
            assert name in targets


@every_text
def test_variables_and_settings_exist(page: Path) -> None:
    variables, settings = set(), set()
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            settings |= {f"{name}.{inner}" for inner in group.model_fields}
            variables |= {f"E2X_{name}__{inner}".upper() for inner in group.model_fields}
        else:
            variables.add(f"E2X_{name}".upper())
    groups = {name.split(".")[0] for name in settings}
    for code in code_of(page):
        for name in re.findall(r"\bE2X_[A-Z_]+\b", code):
            assert name in variables | OF_TESTS, name
        whole = re.fullmatch(r"([a-z]+)\.([a-z_]+)", code)
        if (
            whole
            and whole[1] in groups
            and whole[2] not in ("json", "py", "html", "md", "svg", "toml")
        ):
            assert code in settings, code


def test_what_docstrings_point_to_exists() -> None:
    lost = []
    for tree in TREES:
        for file in sorted((ROOT / tree).rglob("*.py")):
            text = file.read_text()
            for role in re.finditer(r":(?:mod|func|class|data|meth|attr):`~?([\w.]+)`", text):
                name = role[1]
                here = re.search(rf"\b{name.split('.')[-1]}\b", text.replace(role[0], ""))
                there = name.split(".")[0] in TREES and exists(name)
                beside = (file.parent / f"{name}.py").is_file()
                if not (here or there or beside):
                    lost.append(f"{file.relative_to(ROOT)}: {name}")
    assert lost == []
