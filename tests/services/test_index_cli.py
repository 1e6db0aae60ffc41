"""``e2x index show`` and ``move``, as they are typed."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from services.store.region_index import open_index
from tests.index_engines import ENCODER, ENGINES, REGIONS, WIDTH, fill
from tests.services.commands import CommandLine

IMAGES = 30
HAS_LANCE = importlib.util.find_spec("lancedb") is not None
lance = pytest.mark.skipif(not HAS_LANCE, reason="NO TEST OF LANCEDB RUNS: pip install lancedb")
ENGINE = [pytest.param(name, marks=() if name == "faiss" else lance, id=name) for name in ENGINES]


def set_engine(line: CommandLine, engine: str) -> None:
    """As a person does it: in the project's file."""
    (line.root / "e2x.toml").write_text(f'[index]\nengine = "{engine}"\n')


def fill_pool(line: CommandLine, count: int = IMAGES) -> None:
    with line.opened() as context:
        fill(open_index(context, ENCODER, WIDTH), [f"i{n:03d}" for n in range(count)])


@pytest.fixture(params=ENGINE)
def engine(request: pytest.FixtureRequest, line: CommandLine) -> str:
    """The name of an engine that is set."""
    set_engine(line, request.param)
    return request.param


def test_show_names_the_engine_and_what_it_holds(engine: str, line: CommandLine) -> None:
    empty = line.done("index", "show")
    assert empty.out.startswith(f"{engine} (")
    assert "nothing of the pool is indexed yet" in empty.out
    assert line.done("index", "show", "--json").json["indexes"] == []

    fill_pool(line)
    shown = line.done("index", "show").out
    assert f"encoder {ENCODER[:12]}: {IMAGES * REGIONS} regions of {IMAGES} images" in shown
    told = line.done("index", "show", "--json").json
    assert (told["engine"], bool(told["version"])) == (engine, True)
    (row,) = told["indexes"]
    assert (row["encoder"], row["images"], row["regions"]) == (ENCODER, IMAGES, IMAGES * REGIONS)
    assert 0 <= row["waiting"] <= row["regions"]


def test_what_cannot_be_moved_is_refused_in_a_line(engine: str, line: CommandLine) -> None:
    nothing = "no index of this project" if HAS_LANCE else "pip install"
    assert nothing in line.refused("index", "move", "faiss", "lancedb")
    assert "are one engine" in line.refused("index", "move", engine, engine)
    assert "faiss, lancedb" in line.refused("index", "move", engine, "milvus")


@lance
def test_move_and_back_as_the_command_says(line: CommandLine) -> None:
    set_engine(line, "faiss")
    fill_pool(line)
    said = line.done("index", "move", "faiss", "lancedb").out
    assert f"{IMAGES * REGIONS} regions of {IMAGES} images are in lancedb, {IMAGES} by this" in said
    assert "now set index.engine = lancedb" in said
    assert line.done("index", "show", "--json").json["engine"] == "faiss"  # until it is set
    set_engine(line, "lancedb")
    assert line.done("index", "show", "--json").json["indexes"][0]["images"] == IMAGES

    with line.opened() as context:
        open_index(context, ENCODER, WIDTH).delete("i000")
    again = line.done("index", "move", "faiss", "lancedb", "--json").json  # goes on
    assert (again["moved"], again["images"], again["engine"]) == (1, IMAGES, "lancedb")
    with line.opened() as context:
        open_index(context, ENCODER, WIDTH).delete("i001")
    back = line.done("index", "move", "lancedb", "faiss", "--json").json
    assert (back["moved"], back["dropped"], back["images"]) == (0, 1, IMAGES - 1)
    assert back["regions"] == (IMAGES - 1) * REGIONS
    set_engine(line, "faiss")
    assert line.done("index", "show", "--json").json["indexes"][0]["images"] == IMAGES - 1


def test_without_the_library_it_is_said_what_to_install(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_engine(line, "faiss")
    fill_pool(line)
    monkeypatch.setitem(sys.modules, "lancedb", None)
    for name in ("lance_index", "lance_table"):
        monkeypatch.delitem(sys.modules, f"curation.index.{name}", raising=False)
    assert "pip install 'e2x[lancedb]'" in line.refused("index", "move", "faiss", "lancedb")
