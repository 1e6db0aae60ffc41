"""README and docs say what the code does: settings, commands and files that they name exist."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from typer.main import get_command

from services.cli import make_app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WRITTEN = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
PAGES = [page for page in WRITTEN if "_build" not in page.parts]
TEXT = "\n".join(page.read_text() for page in PAGES)


def _generated() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generated", DOCS / "generated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(_generated().PAGES))
def test_a_generated_page_is_what_the_code_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "97")  # the width of somebody's terminal changes nothing

    assert (DOCS / name).read_text() == _generated().PAGES[name](), "run python docs/generated.py"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]

    built = subprocess.run(
        [*command, "-d", str(tmp_path / "trees"), str(DOCS), str(tmp_path / "html")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert built.returncode == 0, built.stderr
    page = (tmp_path / "html" / "index.html").read_text()
    fetched = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"(https?:[^\"]+)", page)
    assert fetched == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_every_command_that_is_named_exists() -> None:
    commands = get_command(make_app()).commands  # type: ignore[attr-defined]
    named = set(re.findall(r"^e2x (\w+)", TEXT, re.M))
    assert len(named) > 5
    assert named <= set(commands)


def test_every_option_that_is_named_exists() -> None:
    options = set(re.findall(r"--[a-z][a-z-]+", (DOCS / "commands.md").read_text()))
    for page in (DOCS / "data.md", DOCS / "field.md", DOCS / "labelling.md", ROOT / "README.md"):
        used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text()))
        assert used <= options, page.name


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`((?:curation|retrain|services|benchmarks)/[\w/.]*)`", TEXT)))
)
def test_every_path_that_is_named_exists(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_and_pages_that_are_linked_exist(page: Path) -> None:
    for name in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if not name.startswith("http"):
            assert (page.parent / name).exists(), name


def test_every_drill_is_a_test_and_nobody_is_woken_for_what_was_never_played() -> None:
    page = (DOCS / "runbook.md").read_text()
    for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page):
        assert (ROOT / file).is_file(), file
        assert not name or re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.M), name
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
    paged = {
        rule["alert"]
        for group in rules["groups"]
        for rule in group["rules"]
        if rule["labels"]["severity"] == "page"
    }
    assert paged <= set(re.findall(r"E2x\w+", page))
