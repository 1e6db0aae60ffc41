"""Whatever stands in the files of a YOLO set: it is read, or one clear error says what is wrong."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from curation import formats
from curation.formats import ReadOptions, SplitChoice
from curation.kernel.errors import AnnotationsInvalid
from tests import bad_images

PNG = bad_images.png(1)
WORDS = st.one_of(
    st.sampled_from(["0", "1", "1.0", "1e0", "-1", "nan", "0.5", "0.25", "1e39", "1e400", "45"]),
    st.sampled_from(["0.7854", "0,5", "#", "car", "\ufeff", "\0", "\x85", "\u2028", "½", "４"]),
    st.sampled_from(
        ["{}", "[]", ":", "-", "&", "*", "!", "~", "train:", "val:", "path:", "names:"]
    ),
    st.sampled_from(
        ["kpt_shape:", "../../images", "images", "/etc/passwd", "a.png", "train =", "="]
    ),
)
TEXTS = st.lists(st.lists(WORDS, max_size=12).map(" ".join), max_size=8).map("\n".join)
ROWS = st.lists(
    st.lists(st.sampled_from(["0", "1", "0.5", "0.25", "0.7854", "2"]), min_size=5, max_size=12),
    max_size=8,
).map(lambda rows: "\n".join(map(" ".join, rows)))
DATA = st.one_of(TEXTS.map(str.encode), ROWS.map(str.encode), st.binary(max_size=60))
NAMES = (
    *("data.yaml", "obj.data", "obj.names", "classes.txt", "notes.json", "train.txt"),
    *("labels/a.txt", "labels/b.txt", "images/a.txt", "labels/c.TXT"),
)


@settings(max_examples=80, deadline=None)
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, DATA)),
    st.booleans(),
)
def test_any_content_is_read_or_refused_clearly(files: dict[str, bytes], rotated: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("images/a.png", "images/b.png"):
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(PNG)
        (root / "labels").mkdir()
        (root / "classes.txt").write_text("car\nbus\n")
        for name, data in files.items():
            (root / name).write_bytes(data)
        options = ReadOptions(splits=SplitChoice(purpose="train"), enclose_rotated=rotated)
        try:
            found = formats.load(root, "yolo", options=options)
        except AnnotationsInvalid as error:
            assert str(error)  # noqa: PT017
            return
        for item in found.items:
            assert item.path.is_relative_to(root)
            assert len(item.boxes_xyxy) == len(item.labels)
            assert set(item.labels) <= set(found.class_names)
