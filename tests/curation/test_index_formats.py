"""Indices that older software wrote: read as they are, written anew with the next seal."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from curation.index.shards import ShardRules
from curation.index.version import FORMAT, VERSION_FILE
from tests.curation.test_index import brute_force, clustered, opened
from tests.curation.test_index_coded import CODING, NAMES, coded, former


def test_an_index_of_the_first_format_is_read_and_coded_with_the_next_seal(tmp_path: Path) -> None:
    _, vectors = coded(tmp_path)
    file = tmp_path / VERSION_FILE
    described = json.loads(file.read_text())
    assert described.pop("format") == FORMAT
    del described["segments"], described["tail"]
    file.write_text(json.dumps({"format": 1, **described}))
    old = opened(tmp_path, CODING)
    assert all(np.array_equal(old.regions_of(name)[0], vectors[name]) for name in NAMES)
    old.seal()
    assert old.uncoded() == 0
    assert old.regions_of("i003")[0] == pytest.approx(vectors["i003"], abs=0.01)


def test_an_index_of_the_format_before_is_searched_and_written_anew(tmp_path: Path) -> None:
    index, vectors = coded(tmp_path)
    index.compress()
    file = tmp_path / VERSION_FILE
    described = json.loads(file.read_text())
    (segment,) = described["segments"]
    flat = np.concatenate([vectors[name] for name in NAMES])
    ref = asdict(former(tmp_path / segment["file"], 0, flat))
    del ref["coarse"], ref["layout"]
    file.write_text(json.dumps(described | {"format": 2, "segments": [ref]}))
    old = opened(tmp_path, CODING)
    old.verify()
    stored = {name: old.regions_of(name)[0] for name in NAMES}
    assert stored["i003"] == pytest.approx(vectors["i003"], abs=0.01)
    query = clustered(1, 5)
    told = old.score_images(query)
    truth = brute_force(old, query[0])
    assert dict(zip(told.images, told.similarities[0].tolist(), strict=True)) == pytest.approx(
        truth, abs=1e-5
    )
    anew = opened(tmp_path, ShardRules(min_regions=50, max_bytes=16, code_rows=100))
    for name in NAMES[::3]:
        assert anew.delete(name)
    anew.seal()
    anew.verify()
    assert anew.num_stored() == 5 * (200 - 67)
    assert all(np.array_equal(anew.regions_of(name)[0], stored[name]) for name in NAMES[1::3])
