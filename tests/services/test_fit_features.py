"""``e2x explain --fit-features``: learnt from the seed set, kept with the model, used by name."""

from __future__ import annotations

import pytest

from curation.explain.methods.vebi_features import FeatureModel
from curation.kernel import images
from services.context import Context
from services.db.tables import Annotation, Explanation, FailureRow, Image, Model, Role, UnitState
from services.errors import InvalidRequest
from services.explaining import fit_features
from services.failures import asked
from services.failures.asked import Wish
from services.models import features
from services.store.project_store import store_of
from services.store.storage import put_image
from tests.services.commands import CommandLine
from tests.services.explain_frames import MISSED
from tests.services.test_explain_stage import work
from tests.tiny_ssd import tiny_ssd
from tests.toy import textured_image

MODEL = f"{1:064x}"


def nothing(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture
def seeded(found: Context) -> Context:
    """The frame's project with a seed set of four images, two objects each."""
    with found.sessions.begin() as session:
        for seed in range(4):
            data = images.encode_png(textured_image(seed, 96, 96))
            stored = put_image(found, data)
            session.add(
                Image(
                    id=stored.id,
                    role=Role.SEED,
                    file=stored.file,
                    name=f"{seed}.png",
                    width_px=96,
                    height_px=96,
                    perceptual_hash=stored.perceptual_hash,
                )
            )
            session.flush()
            objects = [
                {"box": [5.0, 5.0, 50.0, 60.0], "label": "square", "ignore": False},
                {"box": [40.0, 30.0, 90.0, 90.0], "label": "disc", "ignore": False},
            ]
            session.add(Annotation(image_id=stored.id, objects=objects))
    return found


def test_a_fit_is_kept_with_the_model_and_used_by_name(seeded: Context) -> None:
    told = fit_features.fit(seeded, MODEL, nothing)
    assert told["images"] == 4
    assert set(told["classes"]) == {*tiny_ssd().class_names[1:], "missed"}
    ablation = told["ablation"]
    assert ablation["channels"][0] == 0
    assert ablation["relevant"][0] == ablation["others"][0]
    assert ablation["objects"] > 0
    for entry in told["classes"].values():
        for key in entry["pictures"]:
            assert images.decode(store_of(seeded).get(key)).ndim == 3
    kept = FeatureModel.of_bytes(store_of(seeded).get(told["file"]), told["file"])
    with seeded.sessions() as session:
        assert features.of_model(session.get_one(Model, MODEL)) == told
    state, _, error = work(seeded, method="vebi")
    assert state == UnitState.DONE, error
    with seeded.sessions() as session:
        for row in session.query(Explanation):
            assert row.parameters["model"] == kept.fingerprint
    assert not list(seeded.project.runs.glob("features-*"))


def test_people_are_offered_the_method_once_features_are_fitted(seeded: Context) -> None:
    def ask() -> str:
        with seeded.sessions.begin() as session:
            return asked.ask(session, seeded.settings, MISSED, "vebi", [Wish()])[0].method

    with pytest.raises(InvalidRequest, match="fit-features"):
        ask()
    fit_features.fit(seeded, MODEL, nothing, most_images=2)
    assert ask() == "vebi"


class Stopped(Exception):
    """As Ctrl-C does."""


def test_a_fit_that_was_stopped_goes_on_and_ends_the_same(
    seeded: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit_features.fit(seeded, MODEL, nothing)

    def stop(what: str, done: int, _total: int) -> None:
        if (what, done) == ("learning", 3):
            raise Stopped

    with pytest.raises(Stopped):
        fit_features.fit(seeded, MODEL, stop)
    [folder] = seeded.project.runs.glob("features-*")
    kept = sorted(folder.glob("*.npz"))
    assert len(kept) == 3
    kept[0].write_bytes(kept[0].read_bytes()[:100])  # by a power cut
    learnt = []
    describe = fit_features.describe

    def counted(*arguments: object) -> object:
        learnt.append(arguments)
        return describe(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fit_features, "describe", counted)
    again = fit_features.fit(seeded, MODEL, nothing)
    assert len(learnt) == 2  # the damaged one, and the one that was not reached
    assert again == whole


def test_an_image_that_cannot_be_read_costs_itself(seeded: Context) -> None:
    with seeded.sessions() as session:
        first = session.query(Image).filter_by(role=Role.SEED).order_by(Image.id).first()
        assert first is not None
        (seeded.project.images / first.file).write_bytes(b"no picture")
    told = fit_features.fit(seeded, MODEL, nothing)
    assert (told["images"], told["unreadable"]) == (3, 1)


def test_the_command_prints_what_was_found(seeded: Context) -> None:
    line = CommandLine(seeded.project.root)
    url = seeded.settings.database_url
    (line.root / "e2x.toml").write_text(f'database_url = "{url}"\n')
    told = line.done("explain", "--fit-features", "--model", "1", "--images", "2")
    assert "learnt from" in told.out
    assert "e2x explain IMAGE --method vebi" in told.out
    frame = line.root / "frame.png"
    frame.write_bytes(images.encode_png(textured_image(9, 96, 96)))
    target = ("--target", "10,10,60,60:square")
    explained = line.done("explain", frame, "--model", "1", "-m", "vebi", *target, "--json").json
    assert "own boxes" not in str(explained)
    assert "name no image" in line.refused("explain", frame, "--fit-features")
    assert "belongs to --fit-features" in line.refused("explain", frame, "--images", "3")


def test_without_a_seed_set_it_says_what_to_import(found: Context) -> None:
    with found.sessions() as session:
        assert session.query(FailureRow).count()
    with pytest.raises(InvalidRequest, match="--role seed"):
        fit_features.fit(found, MODEL, nothing)
