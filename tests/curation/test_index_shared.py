"""One index of several hosts: nothing that is added is lost, nothing that is deleted comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from curation.index import RegionIndex
from curation.index.depot import LARGEST, MANIFEST, Piece, begin_anew, stamp, taken_in
from curation.index.shards import ShardRules
from curation.index.state import STATE
from curation.index.version import VERSION_FILE
from curation.kernel.errors import IndexMoved, ShardCorrupt
from services.store.depots import StoreDepot
from services.store.objects.folder import FolderObjects
from tests.curation.test_index import WIDTH, clustered, fill

ENCODER = "e" * 64
RULES = ShardRules(min_regions=200, max_bytes=8, code_rows=150)


class Depot(StoreDepot):
    """A depot whose next swap can meet what another host does just before."""

    before_swap: Callable[[], None] | None = None

    def swap(self, name: str, data: bytes, tag: str | None) -> str:
        before, self.before_swap = self.before_swap, None
        if before is not None:
            before()
        return super().swap(name, data, tag)


def depot(tmp_path: Path) -> Depot:
    return Depot(FolderObjects(tmp_path / "store"), ENCODER)


def host(tmp_path: Path, name: str, at: StoreDepot | None = None) -> RegionIndex:
    return RegionIndex(
        tmp_path / name, ENCODER, WIDTH, shard_rules=RULES, depot=at or depot(tmp_path)
    )


def names(first: int, count: int) -> list[str]:
    return [f"i{number:05d}" for number in range(first, first + count)]


def test_hosts_search_what_others_add_and_not_what_others_delete(tmp_path: Path) -> None:
    one, two = host(tmp_path, "one"), host(tmp_path, "two")
    fill(one, names(0, 3), seed=1)
    assert two.images() == tuple(names(0, 3))
    fill(two, names(3, 3), seed=2)
    assert one.delete("i00004")
    fill(two, names(1, 1), seed=3)  # an image that is in is replaced

    left = tuple(name for name in names(0, 6) if name != "i00004")
    assert one.images() == two.images() == left
    query = clustered(2, 5)
    found = [index.search(query, 40) for index in (one, two, host(tmp_path, "late"))]
    for other in found[1:]:
        assert (other.images == found[0].images).all()
        assert np.array_equal(other.similarities, found[0].similarities)
    assert "i00004" not in found[0].images
    for index in (one, two):
        index.verify()


def test_additions_of_several_hosts_at_once_are_all_there(tmp_path: Path) -> None:
    def add(number: int) -> None:
        index = host(tmp_path, f"host-{number}")
        for batch in range(6):
            fill(index, names(100 * number + 10 * batch, 4), seed=10 * number + batch)
            index.delete(names(100 * number + 10 * batch, 1)[0])

    hosts = [threading.Thread(target=add, args=(number,)) for number in range(3)]
    for thread in hosts:
        thread.start()
    for thread in hosts:
        thread.join()

    wanted = {
        name
        for number in range(3)
        for batch in range(6)
        for name in names(100 * number + 10 * batch + 1, 3)
    }
    for name in ("host-0", "host-1", "new"):
        index = host(tmp_path, name)
        assert set(index.images()) == wanted
        index.verify()
    kept = list((tmp_path / "store").rglob("*.part"))
    assert len(kept) < 3 * 12  # pieces grow together, and those of before are gone


def test_seals_of_one_host_are_taken_up_by_the_others(tmp_path: Path) -> None:
    one, two = host(tmp_path, "one"), host(tmp_path, "two")
    fill(one, names(0, 100), seed=1)
    assert one.seal() == 500
    fill(two, names(100, 3), seed=2)
    assert one.compress() == 15

    query = clustered(3, 9)
    expected = one.score_images(query)
    fresh = host(tmp_path, "fresh")
    for index in (two, fresh):
        found = index.score_images(query)
        assert found.images == expected.images
        assert np.array_equal(found.similarities, expected.similarities)
        assert len(index.shards()) == 1
        assert index.uncoded() == 15
    for name in names(0, 60):  # so many that the next seal writes all anew
        two.delete(name)
    two.seal()
    assert two.num_stored() == 5 * 43
    for index in (one, fresh):
        assert index.images() == two.images()
        assert np.array_equal(index.regions_of("i00070")[0], two.regions_of("i00070")[0])
        index.verify()
    gone = {path.name for path in (tmp_path / "one").glob("*.seg")}
    assert gone == {path.name for path in (tmp_path / "two").glob("*.seg")}


@pytest.mark.parametrize("work", ["seal", "compact", "compress"])
def test_two_hosts_that_seal_at_once_lose_nothing(tmp_path: Path, work: str) -> None:
    slow_depot = depot(tmp_path)
    one, two = host(tmp_path, "one", slow_depot), host(tmp_path, "two")
    fill(one, names(0, 100), seed=1)
    if work == "compact":
        one.seal()
        for name in names(0, 60):
            one.delete(name)

    def other() -> None:
        fill(two, names(200, 2), seed=2)
        two.compress() if work == "compress" else two.seal()

    slow_depot.before_swap = other
    one.compress() if work == "compress" else one.seal()

    wanted = set(names(60 if work == "compact" else 0, 40 if work == "compact" else 100))
    for index in (one, two, host(tmp_path, "new")):
        assert set(index.images()) == wanted | set(names(200, 2))
        index.verify()


def test_a_write_that_was_overtaken_leaves_nothing_and_is_done_again(tmp_path: Path) -> None:
    slow_depot = depot(tmp_path)
    one, two = host(tmp_path, "one", slow_depot), host(tmp_path, "two")
    fill(one, names(0, 2), seed=1)
    slow_depot.before_swap = lambda: fill(two, names(2, 2), seed=2)
    fill(one, names(4, 2), seed=3)

    assert one.images() == two.images() == tuple(names(0, 6))
    assert np.array_equal(one.regions_of("i00004")[0], two.regions_of("i00004")[0])
    named = {path.name for path in (tmp_path / "store/index").rglob("*") if path.suffix == ".part"}
    manifest = (tmp_path / f"store/index/{ENCODER[:16]}/{MANIFEST}").read_text()
    assert all(name in manifest for name in named)


def test_a_swap_whose_answer_was_lost_counts(tmp_path: Path) -> None:
    class Deaf(StoreDepot):
        def swap(self, name: str, data: bytes, tag: str | None) -> str:
            super().swap(name, data, tag)
            return super().swap(name, data, tag)  # the library asks again, and is refused

    one = host(tmp_path, "one", Deaf(FolderObjects(tmp_path / "store"), ENCODER))
    fill(one, names(0, 2), seed=1)
    fill(one, names(2, 2), seed=2)
    assert host(tmp_path, "two").images() == tuple(names(0, 4))


def test_a_killed_writer_leaves_an_index_that_others_go_on_with(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def dies() -> None:
        raise Killed

    slow_depot = depot(tmp_path)
    one = host(tmp_path, "one", slow_depot)
    fill(one, names(0, 2), seed=1)
    slow_depot.before_swap = dies
    with pytest.raises(Killed):
        fill(one, names(2, 2), seed=2)

    two = host(tmp_path, "two")
    fill(two, names(4, 2), seed=3)
    again = host(tmp_path, "one")  # its files hold half of what it had begun
    assert again.images() == (*names(0, 2), *names(4, 2))
    again.verify()


def test_what_the_store_lost_or_changed_is_told_and_not_taken_up(tmp_path: Path) -> None:
    one = host(tmp_path, "one")
    fill(one, names(0, 2), seed=1)
    two = host(tmp_path, "two")
    fill(one, names(2, 2), seed=2)
    (piece, *_) = sorted((tmp_path / "store").rglob("vectors-*.part"))
    whole = piece.read_bytes()
    piece.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ShardCorrupt, match=r"vectors\.f16 differs from what was written"):
        two.images()
    with pytest.raises(ShardCorrupt, match="differs from what was written"):
        one.verify()  # which has it whole, of before
    piece.unlink()
    with pytest.raises(ShardCorrupt, match=r"lacks .*vectors-.*part"):
        two.images()
    piece.write_bytes(whole)
    assert two.images() == tuple(names(0, 4))


def test_a_lost_manifest_is_put_back_by_a_host_that_has_the_index(tmp_path: Path) -> None:
    one = host(tmp_path, "one")
    fill(one, names(0, 2), seed=1)
    (tmp_path / f"store/index/{ENCODER[:16]}/{MANIFEST}").unlink()
    assert one.images() == tuple(names(0, 2))
    assert host(tmp_path, "two").images() == tuple(names(0, 2))


def test_an_index_of_one_machine_is_put_into_an_empty_store(tmp_path: Path) -> None:
    alone = RegionIndex(tmp_path / "one", ENCODER, WIDTH, shard_rules=RULES)
    fill(alone, names(0, 100), seed=1)
    alone.seal()
    before = alone.regions_of("i00007")[0]

    assert host(tmp_path, "one").images() == tuple(names(0, 100))
    assert np.array_equal(host(tmp_path, "two").regions_of("i00007")[0], before)


def test_an_index_that_begins_anew_is_empty_for_all(tmp_path: Path) -> None:
    one, two = host(tmp_path, "one"), host(tmp_path, "two")
    fill(one, names(0, 2), seed=1)
    assert two.images()
    begin_anew(depot(tmp_path), ENCODER, 0)  # how wide they were is not known any more
    assert one.images() == two.images() == ()
    fill(two, names(7, 1), seed=1)
    assert one.images() == tuple(names(7, 1))


def test_a_damaged_note_of_the_state_costs_a_fetch(tmp_path: Path) -> None:
    one = host(tmp_path, "one")
    fill(one, names(0, 2), seed=1)
    (tmp_path / "one" / STATE).write_text("{")
    assert host(tmp_path, "one").images() == tuple(names(0, 2))
    assert (tmp_path / "one" / VERSION_FILE).is_file()


def test_pieces_are_a_logarithmic_number(tmp_path: Path) -> None:
    pieces: list[Piece] = []
    sent = 0
    for _ in range(1000):
        count = taken_in(pieces, 100)
        size = 100 + sum(piece.size for piece in pieces[len(pieces) - count :])
        pieces = [*pieces[: len(pieces) - count], Piece(stamp(), size)]
        sent += size
    assert sum(piece.size for piece in pieces) == 100_000
    assert len(pieces) <= 11
    assert sent < 12 * 100_000
    assert taken_in([Piece("large", LARGEST)], 100) == 0
    with pytest.raises(IndexMoved):
        depot(tmp_path).swap("one", b"", "a tag of nothing")
