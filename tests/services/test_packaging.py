"""What an installed package holds: all modules, and every other file that they read."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("curation", "retrain", "services")


@pytest.fixture(scope="module")
def shipped() -> list[Path]:
    """Tracked files of the packages, relative to the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [Path(line) for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_every_folder_with_modules_is_a_package(shipped: list[Path]) -> None:
    folders = {file.parent for file in shipped if file.suffix == ".py"}
    assert folders
    assert [folder for folder in folders if not (ROOT / folder / "__init__.py").is_file()] == []


def test_every_other_file_is_named_as_data_of_its_package(shipped: list[Path]) -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert set(tool["package-data"]) <= set(PACKAGES)
    named = {
        found.relative_to(ROOT)
        for package, patterns in tool["package-data"].items()
        for pattern in patterns
        for found in (ROOT / package).glob(pattern)
    }
    others = {file for file in shipped if file.suffix != ".py"}
    assert named == others
    for package, patterns in tool["package-data"].items():
        for pattern in patterns:
            assert any((ROOT / package).glob(pattern)), f"{package}: {pattern} matches nothing"
