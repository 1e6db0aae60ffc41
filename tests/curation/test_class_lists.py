"""Lists of classes: each form as the tool that wrote it means it, or refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from curation.formats.class_lists import MAX_BYTES, ClassList, parse_class_list, read_class_list
from curation.kernel.errors import AnnotationsInvalid

CAR_BUS = ("car", "bus")


def names(text: str, where: str = "classes.txt") -> tuple[str | None, ...]:
    return parse_class_list(text, where).names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("car\nbus\n", CAR_BUS),
        ("car\r\nbus\r\n\r\n  \r\n", CAR_BUS),
        ("\ncar\n\nbus", (None, "car", None, "bus")),
        ("car\nN/A\nbus\nN/A\n", ("car", None, "bus", None)),
        ("0: car\n1: bus\n", CAR_BUS),
        ("1: bus\n0: car\n", CAR_BUS),
        ("0\tcar\n2\tbus\n", ("car", None, "bus")),
        ("1 car\n2 bus\n", (None, "car", "bus")),
        ("3 wheeler\ncar\n", ("3 wheeler", "car")),
        ("3 wheeler\n", ("3 wheeler",)),
        ("2 door\n4 door\n", ("2 door", "4 door")),
        ("van, small\ntruck\n", ("van, small", "truck")),
        ("- car\n- bus\n", CAR_BUS),
        ("nc: 2\nnames: [car, bus]\n", CAR_BUS),
        ("[car, bus]", CAR_BUS),
        ('["car", "bus"]', CAR_BUS),
        ("__background__\ncar", ("__background__", "car")),
    ],
)
def test_text_files(text: str, expected: tuple[str | None, ...]) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("names: ['van, small', \"v\\xE9lo\", bus]", ("van, small", "vélo", "bus")),
        ("names: ['car',   # saloons, vans\n 'truck'\n , bus]\nnc: 3", ("car", "truck", "bus")),
        ("names: # what there is\n  0: car\n\n  # two wheels\n  1: bus # big\n", CAR_BUS),
        ("names: {0: car, 3: bus}\nnc: 4", ("car", None, None, "bus")),
        ("names: {0: car, 3: bus}\nnc: 2", ("car", None, None, "bus")),
        ('"names": {"1": bus, "0": car}', CAR_BUS),
        ("names: {car: 0, bus: 1}", CAR_BUS),
        ("names: [car, '', bus, '']\nnc: 4", ("car", None, "bus", None)),
        ("names:\n- no\n- on\n- 1\n- null\n- 1.50\n- 2020-01-01\n- ~\n- 0x1f\n",
         ("no", "on", "1", "null", "1.50", "2020-01-01", None, "0x1f")),
        ("base: &all\n  - car\n  - bus\nnames: *all\n", CAR_BUS),
        ("- car\n- bus", CAR_BUS),
        ("0: car\n1: bus", CAR_BUS),
        ("path: ../set\ntrain: images/train\nnames:\n  - >-\n    traffic\n    light\n",
         ("traffic light",)),
    ],
)  # fmt: skip
def test_yaml(text: str, expected: tuple[str | None, ...]) -> None:
    assert names(text, "data.yaml") == expected


def test_what_pyyaml_writes_comes_back() -> None:
    written = ["vélo", "грузовик", "巴士", "no", "12", "a: b", "#x", "- y", "van, small", "می‌روم"]
    for listed in (written, dict(enumerate(written))):
        for flow in (True, False):
            text = yaml.dump({"nc": len(written), "names": listed}, default_flow_style=flow)
            assert names(text, "data.yaml") == tuple(written)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (["car", None, "bus"], ("car", None, "bus")),
        ({"0": "car", "1": "bus"}, CAR_BUS),
        ({"car": 0, "bus": 1}, CAR_BUS),
        ({"names": ["car", "bus"], "nc": 2}, CAR_BUS),
        ([{"id": 2, "name": "bus"}, {"id": 1, "name": "car"}], (None, *CAR_BUS)),
        ({"images": [], "categories": [{"id": 0, "name": "car"}, {"id": 1, "name": "bus"}]},
         CAR_BUS),
    ],
)  # fmt: skip
def test_json(document: object, expected: tuple[str | None, ...]) -> None:
    assert names(json.dumps(document), "classes.json") == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_say_what_they_are(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "classes.txt"
    file.write_bytes("vélo\nbus\n".encode(encoding))
    assert read_class_list(file) == ClassList(("vélo", "bus"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-32-be"])
def test_a_list_in_json_is_read_in_all_encodings_of_json(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "classes.json"
    file.write_bytes('["vélo", "bus"]'.encode(encoding))
    assert read_class_list(file) == ClassList(("vélo", "bus"))


@pytest.mark.parametrize("encoding", ["cp1252", "cp1251", "gbk", "utf-16-le"])
def test_other_encodings_are_refused_with_what_to_do(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "classes.txt"
    file.write_bytes({"cp1252": "vélo", "cp1251": "вело", "gbk": "汽车"}.get(encoding, "car")
                     .encode(encoding))  # fmt: skip
    with pytest.raises(AnnotationsInvalid, match="UTF-8") as caught:
        read_class_list(file)
    assert str(caught.value).startswith("classes.txt")


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("", "classes.txt", "no class in it"),
        ("\n\n", "classes.txt", "no class in it"),
        ("car\nbus\ncar\n", "classes.txt", "a name appears twice: 'car' has the numbers 0, 2"),
        ("ve\u0301lo\nv\u00e9lo", "classes.txt", "has the numbers 0, 1"),
        ("0: car\n0: bus\n", "classes.txt", "number 0 has two names"),
        ("0: car\nbus\n", "classes.txt", "line 2: no number before the name"),
        ("car,bus", "classes.txt", "one line with commas"),
        ("car,0\nbus,1\n", "classes.txt", "ends in a comma and a number"),
        ("item {\n  id: 1\n}", "map.pbtxt", "line 1: this is a label map of TensorFlow"),
        ("classes = 2\nnames = obj.names", "obj.data", "darknet's data file"),
        ("# classes\ncar", "classes.txt", "line 1: this is a comment"),
        ("car\nre\x1b[0md", "classes.txt", r"number 1: .*U\+001B"),
        ("99999999: car", "classes.txt", "is above 65535"),
        ("names: [car\nnc: 1", "data.yaml", "line 2: not YAML"),
        ("names:\n\t- car", "data.yaml", "line 2: not YAML"),
        ("names: [car]\nnc: 2", "data.yaml", "`nc` says 2 classes, but `names` has 1"),
        ("names: [car]\nnc: two", "data.yaml", "`nc` says two"),
        ("names:\n  0: car\n  0: bus", "data.yaml", "line 3: '0' appears twice"),
        ("names: [car]\nnames: [bus]", "data.yaml", "line 2: 'names' appears twice"),
        ("names: [car, car]", "data.yaml", "appears twice"),
        ("names: coco.names", "data.yaml", "no list and no map"),
        ("names: [[car]]", "data.yaml", "line 1: expected a name"),
        ("names: [!!binary Y2Fy]", "data.yaml", "expected a name"),
        ("names: !!python/object/apply:os.system [x]", "data.yaml", "has the tag"),
        ("train: images", "data.yaml", "no `names`"),
        ("names: {a: car}", "data.yaml", "'a' is no number"),
        ("[" * 100_000, "data.yaml", "nested too deep"),
        ("a: &a [x]\nb: &b [*a, *a]\nnames: [*b, *b]", "data.yaml", "expected a name"),
        ("--- [car]\n--- [bus]", "data.yaml", "not YAML"),
        ("", "data.yaml", "no list and no map"),
        ('{"0": "car", "0": "bus"}', "classes.json", "'0' appears twice"),
        ('["car", 3]', "classes.json", "number 1: '3' is no text"),
        ('[{"id": 1}]', "classes.json", "number 1: 'None'|no class"),
        ('["car"', "classes.json", "line 1: not JSON"),
        ('"car"', "classes.json", "no list of classes"),
        ("[" * 100_000, "classes.json", "not JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(text: str, where: str, said: str) -> None:
    with pytest.raises(AnnotationsInvalid, match=said) as caught:
        parse_class_list(text, where)
    assert str(caught.value).startswith(where)


def test_files_that_are_not_there_or_far_too_large(tmp_path: Path) -> None:
    with pytest.raises(AnnotationsInvalid, match=r"gone\.txt: cannot be read"):
        read_class_list(tmp_path / "gone.txt")
    with pytest.raises(AnnotationsInvalid, match="cannot be read"):
        read_class_list(tmp_path)
    (tmp_path / "big.txt").write_bytes(b"a\n" * (MAX_BYTES // 2 + 1))
    with pytest.raises(AnnotationsInvalid, match="more than 1024 KiB"):
        read_class_list(tmp_path / "big.txt")


def test_a_number_has_its_name_or_none() -> None:
    listed = parse_class_list("\ncar\n\nbus", "classes.txt")
    assert listed.used == CAR_BUS
    assert [listed.name_of(number) for number in (-1, 0, 1, 3, 4)] == [
        None, None, "car", "bus", None,
    ]  # fmt: skip
