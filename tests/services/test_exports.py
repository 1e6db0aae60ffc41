"""Dataset versions and failures for other tools: whole, streamed, and read back the same."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from curation import formats
from curation.kernel.manifest import Manifest
from services.context import Context
from services.db.tables import DatasetVersion, Role
from services.intake.imports import import_dataset
from services.labeling import exports
from services.models import datasets
from services.store.zip_stream import Member, zipped
from tests.services.browser import barriers, person
from tests.services.commands import CommandLine
from tests.services.datasets_on_disk import pictures, write_coco
from tests.services.pages import HOSTILE, Door, add_field, sign_in

FORMATS = ("coco", "yolo", "voc")


@pytest.fixture
def versions(sqlite_context: Context, tmp_path: Path) -> list[DatasetVersion]:
    """Two versions: the second has more images, and one of the first has another label."""
    made = []
    for number, numbers in enumerate(((100, 101), (102,))):
        folder = write_coco(tmp_path / f"seed{number}", pictures(*numbers))
        import_dataset(sqlite_context, folder, Role.SEED)
        made.append(datasets.build_version(sqlite_context))
    with sqlite_context.sessions.begin() as session:
        session.get_one(DatasetVersion, made[1].id).parent_id = made[0].id
    return made


def _unzipped(data: bytes, folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_version_comes_back_from_the_archive_the_same(
    sqlite_context: Context, versions: list[DatasetVersion], tmp_path: Path, fmt: Any
) -> None:
    export = exports.dataset(sqlite_context, versions[1], fmt, True)
    folder = _unzipped(b"".join(zipped(export.members)), tmp_path / "out")
    read = formats.load(folder)
    assert read.problems == ()
    manifest = datasets.read_version(sqlite_context, versions[1])
    back = {item.path.stem: item for item in read.items}
    assert set(back) == {item.image for item in manifest.items}
    for item in manifest.items:
        same = back[item.image]
        np.testing.assert_allclose(same.boxes_xyxy, item.boxes_xyxy, atol=1e-3)
        assert (same.labels, same.ignore) == (item.labels, item.ignore)
        assert (same.width_px, same.height_px) in ((0, 0), (item.width_px, item.height_px))
        assert same.path.read_bytes() == (sqlite_context.project.images / item.file).read_bytes()
    again = exports.dataset(sqlite_context, versions[1], fmt, True)
    first = exports.dataset(sqlite_context, versions[1], fmt, True)
    assert b"".join(zipped(again.members)) == b"".join(zipped(first.members))


def test_an_archive_holds_one_piece_at_a_time() -> None:
    """Two hundred files of a megabyte pass through a few."""
    piece = np.random.default_rng(0).bytes(1 << 20)
    members = (Member(f"{n}.bin", (piece for _ in range(2)), True) for n in range(100))
    tracemalloc.start()
    try:
        total = sum(len(part) for part in zipped(members))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total > 200 << 20
    assert peak < 8 << 20


def test_failures_go_out_with_all_that_is_known_of_them(
    sqlite_context: Context, tmp_path: Path
) -> None:
    add_field(sqlite_context, 3, HOSTILE)
    export = exports.failures(sqlite_context, exports.Wanted(), "coco", True)
    folder = _unzipped(b"".join(zipped(export.members)), tmp_path / "out")
    document = json.loads((folder / "annotations.json").read_text())
    assert len(document["images"]) == 1
    assert len(document["annotations"]) == 3
    assert document["images"][0]["e2x_name"] == HOSTILE
    one = document["annotations"][0]
    assert one["e2x_failure"] == f"{1:064x}"
    assert one["e2x_kind"] == "false_negative"
    assert one["e2x_regions"] == [{"bbox": [0, 0, 80, 60], "weight": 1, "only_with": None}]
    picture = np.asarray(Pillow.open(folder / one["e2x_map"]).convert("L"))
    assert picture.tolist() == [[255, 1], [128, 153]]
    for fmt in ("yolo", "voc"):
        out = exports.failures(sqlite_context, exports.Wanted(model=1), fmt, True)
        names = [member.path for member in out.members]
        assert not [name for name in names if name.startswith("attributions")]
    assert exports.failures(sqlite_context, exports.Wanted(model=9), "coco", True).images == 0
    assert exports.failures(sqlite_context, exports.Wanted(mode=1), "coco", True).images == 1


def test_a_lost_picture_is_told_and_costs_nothing_else(
    sqlite_context: Context, versions: list[DatasetVersion], tmp_path: Path
) -> None:
    manifest = datasets.read_version(sqlite_context, versions[0])
    (sqlite_context.project.images / manifest.items[0].file).unlink()
    export = exports.dataset(sqlite_context, versions[0], "coco", True)
    folder = _unzipped(b"".join(zipped(export.members)), tmp_path / "out")
    assert manifest.items[0].image in (folder / "LOST.txt").read_text()
    assert len(list((folder / "images").iterdir())) == len(manifest.items) - 1


def test_api_and_page_show_what_changed_and_stream_the_archive(
    sqlite_context: Context,
    versions: list[DatasetVersion],
    served: tuple[Any, str],
    browser: Any,
) -> None:
    door = Door(sqlite_context, *served)
    viewer = door.as_("viewer")
    old, new = versions[0].id, versions[1].id
    listed = {one["id"] for one in viewer.get("/v1/datasets").json()["items"]}
    assert listed == {old, new}
    found = viewer.get(f"/v1/datasets/{new}/diff").json()
    assert found["against"] == old
    assert found["counts"] == {"added": 1, "removed": 0, "relabelled": 0}
    back = viewer.get(f"/v1/datasets/{old}/diff", params={"against": new}).json()
    assert back["counts"] == {"added": 0, "removed": 1, "relabelled": 0}
    assert viewer.get(f"/v1/datasets/{old}/diff").json()["counts"]["added"] == 2
    assert viewer.get(f"/v1/datasets/{new}/diff", params={"against": new}).status_code == 422
    assert viewer.get(f"/v1/datasets/{'f' * 64}/diff").status_code == 404
    for fmt in FORMATS:
        sent = viewer.get(f"/v1/exports/datasets/{new[:12]}", params={"format": fmt})
        assert sent.headers["content-type"] == "application/zip"
        assert f"dataset-{new[:12]}-{fmt}.zip" in sent.headers["content-disposition"]
        with zipfile.ZipFile(io.BytesIO(sent.content)) as archive:
            assert archive.testzip() is None
    assert viewer.get("/v1/exports/failures").status_code == 200
    assert viewer.get("/v1/exports/datasets/nothing").status_code == 404
    with person(browser, door.url, sign_in(door.app, "vera", "viewer")) as page:
        page.goto("/data")
        assert barriers(page) == []
        page.locator(f"a[href='/data/{new}']").first.press("Enter")
        page.locator("h3", has_text="Came: 1 image").wait_for()
        assert barriers(page) == []
        with page.expect_download() as download:
            page.locator("a", has_text="COCO labels only").press("Enter")
        assert download.value.suggested_filename == f"dataset-{new[:12]}-coco.zip"
    with person(
        browser,
        door.url,
        sign_in(door.app, "vera", "viewer"),
        viewport={"width": 390, "height": 800},
    ) as page:
        page.goto(f"/data/{new}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_command_writes_a_folder_or_an_archive(champion: CommandLine, tmp_path: Path) -> None:
    champion.done("import", write_coco(tmp_path / "seed", pictures(100, 101)), "--role", "seed")
    with champion.opened() as context:
        row = datasets.build_version(context)
        known = datasets.read_version(context, row)
    assert isinstance(known, Manifest)
    folder, archive = tmp_path / "yolo", tmp_path / "failures.zip"
    said = champion.done("export", "dataset", "--out", folder, "--format", "yolo").out
    assert f"{len(known.items)} images" in said
    assert "left out" in said
    assert len(formats.load(folder).items) == len(known.items)
    champion.done("export", "failures", "--out", archive)
    with zipfile.ZipFile(archive) as opened:
        assert "annotations.json" in opened.namelist()
    assert "already" in champion.refused("export", "dataset", "--out", folder)
    assert "no dataset version" in champion.refused(
        "export", "dataset", "zzz", "--out", tmp_path / "new"
    )
