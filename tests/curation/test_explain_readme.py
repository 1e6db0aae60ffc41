"""The page of methods has a section of every method, with all that a reader needs."""

import re
from pathlib import Path

import pytest

from curation import explain

PAGE = (Path(explain.__file__).parent / "README.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))


@pytest.mark.parametrize("name", explain.names())
def test_every_method_has_a_section_with_demands_map_cost_use_and_source(name):
    section = SECTIONS[name]
    for word in ("**Asks for**", "**Cost**", "**Map**", "**Use**"):
        assert word in section, f"{name}: nothing about {word}"
    if name != "random":
        assert "**Source**" in section
    assert ("layers" in section.split("**Cost**")[0]) == explain.needs_layers(name)


def test_no_section_is_about_a_method_that_is_not_there():
    assert set(SECTIONS) == set(explain.names())


def test_methods_that_the_page_recommends_exist():
    table = PAGE.split("**Which one?**")[1].split("## ")[0]
    for name in re.findall(r"\| .* \| `(\w+)`", table):
        assert name in SECTIONS
