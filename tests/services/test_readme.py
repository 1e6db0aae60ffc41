"""The README says what the code does: settings, commands and files that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from services.cli import make_app
from services.cli.config import settings_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_settings_table_is_the_one_that_config_prints() -> None:
    marked = re.search(r"<!-- settings -->\n(.*?)\n<!-- /settings -->", README, re.S)
    assert marked is not None
    assert marked.group(1).strip() == settings_table().strip()


def test_every_command_in_the_readme_exists() -> None:
    commands = get_command(make_app()).commands  # type: ignore[attr-defined]
    named = set(re.findall(r"^e2x (\w+)", README, re.M))
    assert named
    assert named <= set(commands)


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`((?:curation|retrain|services)/[\w/.]*)`", README)))
)
def test_every_path_in_the_readme_exists(name: str) -> None:
    assert (ROOT / name).exists()


def test_pictures_in_the_readme_exist() -> None:
    for name in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / name).is_file()
