"""Synthesis by the project's own network, at the size of a toy."""

import json
import multiprocessing
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.common.waiting import PATIENCE
from curation import synthesis
from curation.kernel.errors import GeneratorUnusable
from curation.kernel.types import Truth
from curation.synthesis import Drawn, ModeHarm, Staging, SynthesisRequest, Undrawn, plan
from curation.synthesis.bridge import (
    Conditioned,
    Crop,
    Examples,
    NetworkSize,
    Recipe,
    Verdict,
    Worth,
    conditioned,
    prepare,
    read_verdict,
    train,
    write_verdict,
)
from curation.synthesis.bridge.checkpoint import FILE, digest
from curation.synthesis.bridge.examples import region_vectors
from tests.curation.synthesis_pictures import CAR, SIZE_HW, donor, ground, harm, paint

GREEN = np.array((30, 150, 60))
PURPLE = np.array((170, 60, 150))


class Colours:
    """An encoder whose features are colours: known answers, no weights."""

    version = "colours"
    width = 6

    def encode(self, images):
        maps = []
        for image in images:
            pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255
            grid = torch.nn.functional.interpolate(pixels[None], (12, 16), mode="area")
            maps.append(torch.cat([grid, 1 - grid], 1))
        return torch.cat(maps)


SIZE = NetworkSize(12, 3, side_px=16, channels=(16, 24), token_width=16)
QUICK = Recipe(steps=6, batch=2, save_every=2, warm_up=1)


def coloured(seed, colour):
    """A grey picture in which a yellow object stands amid a colour."""
    rng = np.random.default_rng(seed)
    image, box = ground(rng), (54.0, 40.0, 74.0, 56.0)
    paint(image, (30.0, 20.0, 98.0, 76.0), colour, rng)
    paint(image, box, np.array((235, 220, 40)), rng)
    return Crop(f"crop-{seed}", image, box, CAR)


@pytest.fixture(scope="module")
def examples():
    return prepare([coloured(0, PURPLE), coloured(0, GREEN)], Colours(), 16, num_holes=3)


def two_colours():
    """A picture with purple around its object, and with green: all of it lies in the hole."""
    rng = np.random.default_rng(0)
    pixels = np.clip(rng.normal(100, 6, (2, 16, 16, 3)), 0, 255).astype(np.uint8)
    patch, box = np.zeros((16, 16), np.bool_), np.zeros((16, 16), np.bool_)
    patch[3:13, 3:13], box[6:10, 6:10] = True, True
    for picture, colour in zip(pixels, (PURPLE, GREEN), strict=True):
        picture[patch], picture[box] = colour, (235, 220, 40)
    maps = Colours().encode(list(pixels))
    vectors = np.stack([region_vectors(one, (patch & ~box)[None]) for one in maps])
    twice = np.stack([box, box])
    holes = np.stack([patch & ~box] * 2)[:, None]
    labels = np.array([CAR, CAR])
    inside = np.ones((2, 16, 16), np.bool_)
    return Examples(pixels, inside, twice, holes, vectors, labels, ("p", "g"), Colours.version)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Until it knows both by heart."""
    folder = tmp_path_factory.mktemp("bridge") / "two"
    recipe = Recipe(120, 8, learning_rate=8e-3, warm_up=5, average=0.9, save_every=120)
    losses = []
    train(two_colours(), folder, SIZE, recipe, "cpu", lambda step, steps, loss: losses.append(loss))
    return folder, losses


def plans(count=1):
    mode = ModeHarm("a", Staging.SURROUND, tuple((f"a{n}", harm(n)) for n in range(4)))
    donors = [donor(n) for n in range(8)]
    asked = SynthesisRequest([mode], donors, [], count, 1, 0.0, parent_share=1.0, seed=2)
    return plan(asked)


def get(folder, **more):
    told = {"folder": str(folder), "encoder": Colours(), "unproven": True, "device": "cpu"}
    return synthesis.get("bridge", **{**told, **more})


def one(generator, wanted):
    (answer,) = generator.draw([wanted])
    assert isinstance(answer, Drawn), answer.reason
    return answer


def test_holes_lie_beside_the_object_and_their_vectors_say_what_is_in_them(examples):
    assert examples.pixels.shape == (2, 16, 16, 3)
    assert examples.holes.shape == (2, 3, 16, 16)
    assert examples.vectors.shape == (2, 3, 12)
    assert examples.labels.tolist() == [CAR, CAR]
    assert examples.holes.any(axis=(2, 3)).all()
    inside = examples.boxes[:, None] & examples.holes
    assert inside.sum() < 0.2 * examples.holes.sum()
    assert np.allclose(np.linalg.norm(examples.vectors, axis=2), 1, atol=1e-5)
    # purple has little green, green has much
    green = examples.vectors[:, :, 1]
    assert green[0].max() < green[1].min()
    assert not examples.holes[
        ~np.broadcast_to(examples.inside[:, None], examples.holes.shape)
    ].any()


def test_pictures_without_a_known_object_are_trained_on_too():
    plain = Crop("plain", ground(np.random.default_rng(3)))
    seen = []
    found = prepare([plain, coloured(1, GREEN)], Colours(), 16, 2, progress=seen.append)
    assert found.labels.tolist() == [0, CAR]
    assert not found.boxes[0].any()
    assert found.holes[0].any()
    assert seen == [1, 2]
    again = prepare([plain, coloured(1, GREEN)], Colours(), 16, 2)
    assert again.digest == found.digest
    assert prepare([plain], Colours(), 16, 2).digest != found.digest
    with pytest.raises(ValueError, match="nothing to train on"):
        prepare([], Colours(), 16)
    with pytest.raises(ValueError, match="a box and a class"):
        Crop("half", plain.pixels, None, CAR)


def test_what_it_is_shown_it_learns_by_heart(trained):
    _, losses = trained
    assert np.mean(losses[-30:]) < 0.65 * np.mean(losses[:5])


def test_the_region_vector_decides_what_fills_the_hole(trained):
    """Nothing else tells the two colours apart: the composite is hidden, the noise is the same."""
    folder, _ = trained
    wanted = plans()[0]
    mask = np.zeros(SIZE_HW, np.bool_)
    mask[20:76, 30:98] = True
    mask[40:56, 54:74] = False
    found = []
    for colour in (PURPLE, GREEN):
        hurt = coloured(0, colour)
        told = {"pixels": hurt.pixels, "mask": mask, "box_xyxy": hurt.box_xyxy}
        what = replace(wanted.harm, image=hurt.image, truth=Truth.empty(), **told)
        generator = get(folder, strength=1.0, hide_composite=True)
        drawn = one(generator, replace(wanted, harm=what))
        found.append(drawn.image[drawn.staged.hole].mean(axis=0))
    apart = PURPLE - GREEN
    followed = (found[0] - found[1]) @ apart / (apart @ apart)  # 1: as far apart as the colours are
    assert followed > 0.3, found


def test_it_keeps_the_contract_of_generators(trained):
    folder, _ = trained
    wanted = plans(2)
    first, second = get(folder).draw(wanted)
    assert isinstance(first, Drawn)
    assert isinstance(second, Drawn)
    assert np.array_equal(first.image, one(get(folder), wanted[0]).image)  # whoever is beside it
    assert (first.image != one(get(folder), replace(wanted[0], seed=5)).image).any()
    stays = first.staged.keep >= 1
    assert stays.any()
    assert np.array_equal(first.image[stays], first.staged.base[stays])
    assert (first.image != first.staged.composite).any()
    assert first.staged.truth.ignore.tolist() == [False, True]
    assert (first.generator, first.version) == ("bridge", get(folder).version)
    assert get(folder).version != get(folder, steps=10).version
    assert first.parameters["trained"]["step"] == 120
    json.dumps(dict(first.parameters))
    assert synthesis.accepted("bridge", {"folder": "f", "model": "m"}) == {"folder": "f"}


def test_without_its_encoder_it_takes_the_vector_of_the_plan(trained):
    folder, _ = trained
    wanted = plans()[0]
    (answer,) = get(folder, encoder=None).draw([wanted])
    assert isinstance(answer, Undrawn)
    assert "has no region vector of length 12" in answer.reason
    told = replace(wanted, harm=replace(wanted.harm, vector=np.ones(12, np.float32)))
    assert isinstance(one(get(folder, encoder=None), told), Drawn)


def test_a_class_that_it_does_not_know_costs_that_sample(trained):
    folder, _ = trained
    wanted = plans()[0]
    truth = replace(wanted.donor.truth, labels=np.array([7]))
    (answer,) = get(folder).draw([replace(wanted, donor=replace(wanted.donor, truth=truth))])
    assert isinstance(answer, Undrawn)
    assert "class 7" in answer.reason


def test_resumed_training_gives_the_same_weights(examples, tmp_path):
    whole = train(examples, tmp_path / "whole", SIZE, QUICK, "cpu")
    train(examples, tmp_path / "parts", SIZE, replace(QUICK, steps=3), "cpu")
    steps = []
    parts = train(
        *(examples, tmp_path / "parts", SIZE, QUICK, "cpu"),
        lambda step, total, loss: steps.append((step, total)),
    )
    assert steps == [(4, 6), (5, 6), (6, 6)]
    assert parts == whole
    assert (tmp_path / "parts" / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()
    assert train(examples, tmp_path / "parts", SIZE, QUICK, "cpu") == whole  # nothing left to do


def _train_until_killed(examples, folder):
    def killed(step, steps, loss):
        if step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    train(examples, folder, SIZE, QUICK, "cpu", killed)


def test_killed_training_goes_on_from_what_was_saved(examples, tmp_path):
    process = multiprocessing.get_context("fork").Process(
        target=_train_until_killed, args=(examples, tmp_path / "killed")
    )
    process.start()
    process.join(120 * PATIENCE)
    assert process.exitcode == -signal.SIGKILL
    steps = []
    killed = train(
        *(examples, tmp_path / "killed", SIZE, QUICK, "cpu"),
        lambda step, total, loss: steps.append(step),
    )
    assert steps == [5, 6]
    assert killed == train(examples, tmp_path / "whole", SIZE, QUICK, "cpu")


def test_what_was_begun_otherwise_is_not_gone_on_with(examples, tmp_path):
    train(examples, tmp_path, SIZE, replace(QUICK, steps=1), "cpu")
    saved = (tmp_path / FILE).read_bytes()
    other = prepare([coloured(7, GREEN)], Colours(), 16, num_holes=3)
    with pytest.raises(GeneratorUnusable, match="other examples"):
        train(other, tmp_path, SIZE, QUICK, "cpu")
    with pytest.raises(GeneratorUnusable, match="other recipe"):
        train(examples, tmp_path, SIZE, replace(QUICK, batch=3), "cpu")
    with pytest.raises(GeneratorUnusable, match="other size"):
        train(examples, tmp_path, replace(SIZE, channels=(16, 16)), QUICK, "cpu")
    assert (tmp_path / FILE).read_bytes() == saved
    (tmp_path / FILE).write_bytes(saved[: len(saved) // 2])
    with pytest.raises(GeneratorUnusable, match="damaged"):
        train(examples, tmp_path, SIZE, QUICK, "cpu")


def test_training_that_diverges_says_so_and_keeps_what_was_saved(examples, tmp_path):
    train(examples, tmp_path, SIZE, replace(QUICK, steps=2), "cpu")
    saved = (tmp_path / FILE).read_bytes()
    # a vector that is not a number: the loss of every step that is told it
    bad = replace(examples, vectors=np.full_like(examples.vectors, np.nan))
    with pytest.raises(GeneratorUnusable, match="diverged at step 1: lower learning_rate"):
        train(bad, tmp_path / "bad", SIZE, QUICK, "cpu")
    assert not (tmp_path / "bad" / FILE).exists()
    assert (tmp_path / FILE).read_bytes() == saved


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Recipe(steps=0),
        lambda: Recipe(hide_vector=2.0),
        lambda: NetworkSize(13, 3),
        lambda: NetworkSize(12, 3, side_px=30),
        lambda: NetworkSize(12, 3, channels=(16,)),
        lambda: NetworkSize(12, 3, channels=(12, 20)),
        lambda: get("f", strength=0.0),
        lambda: get("f", guidance=0.5),
        lambda: get("f", blending="poisson"),
    ],
)
def test_sizes_and_parameters_are_refused_at_the_edge(bad):
    with pytest.raises(ValueError, match=r"must|no blending"):
        bad()


def test_examples_that_do_not_fit_the_network_are_refused(examples, tmp_path):
    with pytest.raises(ValueError, match="a network for 64 px"):
        train(examples, tmp_path, replace(SIZE, side_px=64), QUICK, "cpu")
    with pytest.raises(ValueError, match="class 1 of 1"):
        train(examples, tmp_path, replace(SIZE, num_classes=1), QUICK, "cpu")


def test_it_is_refused_until_it_was_measured_and_passed(trained, tmp_path):
    folder, _ = trained
    weights = digest(folder)
    relied = get(folder, unproven=False)
    good = Conditioned(40, 2.0, 1.6, 0.95, 0.88)
    worth = Worth(0.01, "neon", 0.02)

    def said(verdict):
        if verdict is not None:
            write_verdict(folder, verdict)
        with pytest.raises(GeneratorUnusable, match="unproven = true") as caught:
            relied.require_ready()
        with pytest.raises(GeneratorUnusable):
            list(relied.draw(plans()))
        return str(caught.value)

    try:
        assert "nothing was measured" in said(None)
        assert "of other weights" in said(Verdict("other", good, worth))
        assert "(G1)" in said(Verdict(weights, None, worth))
        assert "(G6)" in said(Verdict(weights, good, None))
        assert "not found" in said(Verdict(weights, replace(good, ratio_low=0.9), worth))
        assert "not found" in said(Verdict(weights, replace(good, nearer=0.5), worth))
        assert "not found" in said(Verdict(weights, replace(good, ratio=float("nan")), worth))
        assert "not found" in said(Verdict(weights, good, replace(worth, cause_low=-0.01)))
        assert "not found" in said(Verdict(weights, good, replace(worth, difference=-0.05)))
        write_verdict(folder, Verdict(weights, good, worth))
        assert read_verdict(folder) == Verdict(weights, good, worth)
        assert isinstance(one(relied, plans()[0]), Drawn)
        (folder / "verdict.json").write_text("{")
        with pytest.raises(GeneratorUnusable, match=r"verdict.json cannot be read"):
            relied.require_ready()
    finally:
        (folder / "verdict.json").unlink()


def test_what_cannot_draw_says_why(trained, tmp_path):
    folder, _ = trained
    with pytest.raises(GeneratorUnusable, match="no weights were named"):
        get("").require_ready()
    with pytest.raises(GeneratorUnusable, match="train it first"):
        get(tmp_path).require_ready()

    class Other(Colours):
        version = "other"

    with pytest.raises(GeneratorUnusable, match="another encoder"):
        get(folder, encoder=Other()).require_ready()


def test_bar_g1_is_measured_of_any_generator(trained):
    """Composition follows what hurt by construction; a network that ignores it does not pass."""
    folder, _ = trained
    wanted = plans(4)
    others = [harm(60 + n, colour=GREEN) for n in range(4)]
    rng = np.random.default_rng(0)
    composed = conditioned(synthesis.get("compose"), wanted, others, Colours(), rng)
    assert composed.plans == 4
    assert composed.nearer == 1.0
    assert composed.ratio > 100  # another seed changes nothing
    assert composed.passed
    drawn = conditioned(get(folder, strength=1.0), wanted[:1], others[:1], Colours(), rng)
    assert np.isfinite(drawn.ratio)
    with pytest.raises(ValueError, match="4 plans and 1 others"):
        conditioned(synthesis.get("compose"), wanted, others[:1], Colours(), rng)
