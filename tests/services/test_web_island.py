"""The script of the page to label on: what is shipped is what its source gives, and all in it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "web"
SHIPPED = ROOT / "services" / "web" / "static" / "label.js"
NAMESPACE = "http://www.w3.org/2000/svg"
"""A name, which no browser asks for."""


def _tool(name: str) -> Path:
    found = SOURCE / "node_modules" / ".bin" / name
    if not found.exists():
        pytest.skip(f"THE PAGE'S SCRIPT IS NOT BUILT ANEW: npm --prefix web ci brings {name}")
    return found


@pytest.mark.whole
def test_what_is_shipped_is_built_from_the_source(tmp_path: Path) -> None:
    _tool("esbuild")
    built = tmp_path / "label.js"
    command = ["npm", "run", "--silent", "build", "--", f"--outfile={built}"]
    subprocess.run(command, cwd=SOURCE, check=True, capture_output=True, text=True)

    assert built.read_text() == SHIPPED.read_text(), "run `make island`"


@pytest.mark.whole
def test_the_source_has_no_error_of_types() -> None:
    ran = subprocess.run([_tool("tsc")], cwd=SOURCE, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout


def test_it_asks_for_nothing_from_elsewhere_and_runs_no_text() -> None:
    text = SHIPPED.read_text()

    assert set(re.findall(r"https?://[^\s\"'`]+", text)) == {NAMESPACE}
    for name in (r"\beval\(", r"new Function\(", r"innerHTML", r"document\.write", r"\bimport\("):
        assert re.search(name, text) is None, name
