"""``e2x explain``: a slip is answered before anything heavy is loaded, and loading is told."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.common.waiting import PATIENCE
from curation.kernel import images
from curation.kernel.types import ImageArray
from services.cli import explain
from services.cli.common import USAGE_EXIT

RUN = """
import json, sys
from services.cli import make_app

try:
    make_app()(sys.argv[1:])
except SystemExit as end:
    print(json.dumps([end.code, [name for name in ("torch", "skimage") if name in sys.modules]]))
"""


def _answer(folder: Path, *arguments: str) -> tuple[int, list[str], str]:
    """Exit code, heavy packages that were imported, and what standard error says."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, "explain", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120 * PATIENCE,
        check=False,
    )
    assert done.stdout, done.stderr
    code, heavy = json.loads(done.stdout.splitlines()[-1])
    return code, heavy, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nope.jpg",), "nope.jpg: no such file"),
        (("folder",), "a folder, not an image"),
        (("text.jpg",), "not an image"),
        (("frame.jpg", "--target", "1,2,3:disc"), "X1,Y1,X2,Y2:LABEL"),
        (("frame.jpg", "--target", "30,10,20,20:disc"), "empty"),
        (("frame.jpg", "--target", "600,10,700,20:disc"), "outside the image of 512x512"),
        (("frame.jpg", "--box", "1", "2", "3", "4"), "belong together"),
        (("frame.jpg", "--all", "--truth", "truth.json"), "say one of"),
        (("frame.jpg", "--output", "why.gif"), ".png"),
        (("frame.jpg", "--truth", "nowhere.json"), "does not exist"),
        (("frame.jpg", "--model", "nowhere"), "no model folder 'nowhere'"),
        (("frame.jpg",), "no project here"),
    ],
)
def test_a_slip_is_answered_without_loading_the_network(
    tmp_path: Path, photo: ImageArray, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "frame.jpg").write_bytes(images.encode_jpeg(photo))
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "folder").mkdir()

    code, heavy, said = _answer(tmp_path, *arguments)

    assert words in said
    assert (code, heavy) == (USAGE_EXIT, [])


def test_loading_is_told_on_a_screen_and_nowhere_else() -> None:
    screen, pipe = io.StringIO(), io.StringIO()
    with explain.loading(screen=Console(file=screen, force_terminal=True)):
        pass
    with explain.loading(screen=Console(file=pipe)):
        pass

    assert "loading the model" in screen.getvalue()
    assert pipe.getvalue() == ""
