"""Synthesis by a user's pipeline: tiny ones with random weights, saved, found, loaded and run."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from curation import synthesis
from curation.kernel.errors import GeneratorUnusable
from curation.kernel.types import Truth
from curation.synthesis import Drawn, ModeHarm, Plan, Staging, SynthesisRequest, Undrawn, plan
from curation.synthesis.packages import require_packages
from curation.synthesis.pipelines import release
from tests.curation import tiny_pipelines as tiny
from tests.curation.synthesis_pictures import donor, harm
from tests.curation.test_synthesis_alike import one_place, pool_place

ASKED = {"steps": 2, "strength": 1.0, "guidance": 1.0, "device": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def sd(folder):
    model = tiny.stable_diffusion(folder / "sd")
    adapter = tiny.ip_adapter(folder / "adapter", tiny.unet())
    return {"model": str(model), "adapter": str(adapter)}


@pytest.fixture(autouse=True, scope="module")
def _released():
    yield
    release()


def plans(count=1, staging=Staging.SURROUND):
    mode = ModeHarm("a", staging, tuple((f"a{n}", harm(n)) for n in range(4)))
    asked = SynthesisRequest(
        [mode], [donor(n) for n in range(8)], [], count, 1, 0.0, parent_share=1.0, seed=2
    )
    return plan(asked)


def get(weights, **more):
    return synthesis.get("diffusers", **{**ASKED, **weights, **more})


def one(generator, wanted):
    (answer,) = generator.draw([wanted])
    assert isinstance(answer, Drawn), answer.reason
    return answer


def broken(source, target, part, change):
    """A copy of a folder whose weights of one part are changed."""
    shutil.copytree(source, target)
    file = next((target / part).glob("*.safetensors"))
    state = load_file(file)
    change(state)
    save_file(state, file, {"format": "pt"})
    return str(target)


def kept_the_contract(weights, wanted, **more):
    """What every generator must do, and that what hurt reaches the hole through the weights."""
    drawn = one(get(weights, **more), wanted)
    release()
    again = one(get(weights, **more), wanted)
    assert np.array_equal(drawn.image, again.image)
    assert drawn.image.shape == wanted.donor.pixels.shape
    stays = drawn.staged.keep >= 1
    assert stays.any()
    assert np.array_equal(drawn.image[stays], drawn.staged.base[stays])
    assert not np.array_equal(drawn.image, drawn.staged.composite)
    # strength 1: nothing of the composite is left, what hurt comes by the reference alone
    other = harm(50, colour=np.array((20, 120, 60)))
    other = replace(other, mask=wanted.harm.mask, box_xyxy=wanted.harm.box_xyxy)
    swapped = one(get(weights, **more), replace(wanted, harm=other))
    hole = drawn.staged.hole & swapped.staged.hole
    changed = np.abs(swapped.image.astype(int) - drawn.image)
    assert changed[hole].mean() > 0.5
    both = stays & (swapped.staged.keep >= 1)
    assert changed[both].max() == 0
    seed = one(get(weights, **more), replace(wanted, seed=wanted.seed + 1))
    assert (seed.image != drawn.image).any()
    return drawn


def test_the_hole_follows_what_hurt_and_the_rest_stays(sd):
    drawn = kept_the_contract(sd, plans()[0])
    assert drawn.parameters["pipeline"] == "StableDiffusionInpaintPipeline"
    assert drawn.parameters["licence"] == "openrail"
    assert drawn.parameters["resolution"] == 64
    assert len(drawn.parameters["weights"]) == 32
    assert drawn.parameters["libraries"]["diffusers"]
    json.dumps(dict(drawn.parameters))
    # objects may have been invented: the hole is neither object nor background
    truth = drawn.staged.truth
    assert truth.ignore.tolist() == [False, True]
    assert truth.boxes_xyxy[0].tolist() == list(drawn.plan.donor.box_xyxy)


def test_the_mask_keeps_each_reference_in_its_place(sd):
    wanted = plans()[0]
    drawn = one(get(sd), wanted)
    without = one(get(sd, adapter_scale=0.0), wanted)
    assert (drawn.image != without.image).any()


def test_an_inpainting_model_with_nine_channels(folder):
    model = tiny.stable_diffusion(folder / "nine", channels=9)
    adapter = tiny.ip_adapter(folder / "nine-adapter", tiny.unet(9))
    kept_the_contract({"model": str(model), "adapter": str(adapter)}, plans()[0])


def test_the_larger_model_of_the_same_kind(folder):
    model = tiny.stable_diffusion_xl(folder / "xl")
    adapter = tiny.ip_adapter(folder / "xl-adapter", tiny.unet(cross_attention_dim=2 * tiny.TOKENS))
    kept_the_contract({"model": str(model), "adapter": str(adapter)}, plans()[0])


@pytest.mark.parametrize("kind", ["flux2_klein", "flux_kontext"])
def test_pipelines_that_take_a_reference_image_themselves(folder, kind):
    model = getattr(tiny, kind)(folder / kind)
    drawn = kept_the_contract({"model": str(model)}, plans()[0], resolution=64)
    assert drawn.parameters["pipeline"].startswith("Flux")


def test_it_starts_from_the_composite_as_far_as_strength_says(sd):
    """Without its reference: at strength 1 nothing of what hurt is left in the hole."""
    wanted = plans()[0]
    other = harm(50, colour=np.array((20, 120, 60)))
    swapped = replace(wanted, harm=replace(other, mask=wanted.harm.mask))
    moved = []
    for strength in (0.2, 1.0):
        generator = get(sd, adapter_scale=0.0, strength=strength, steps=10)
        first, second = (one(generator, which) for which in (wanted, swapped))
        hole = first.staged.hole & second.staged.hole
        moved.append(np.abs(first.image.astype(int) - second.image)[hole].mean())
    assert moved[0] > 3 * moved[1]


def test_a_look_alike_is_not_drawn_since_what_is_invented_may_be_an_object(sd):
    (undrawn,) = get(sd).draw([Plan("m", "f", Staging.LOOKALIKE, 0, harm(1), one_place())])
    assert isinstance(undrawn, Undrawn)
    assert "drawn by compose" in undrawn.reason


def test_the_rim_of_an_inserted_object_is_drawn_and_ignored(sd):
    wanted = Plan("m", "f", Staging.INSERT, 0, pool_place(1, Truth.empty()), donor(3))
    drawn = one(get(sd), wanted)
    stays = drawn.staged.keep >= 1
    assert np.array_equal(drawn.image[stays], drawn.staged.base[stays])
    assert not np.array_equal(drawn.image, drawn.staged.base)
    assert drawn.staged.truth.ignore.tolist() == [False, True]


def test_pictures_of_any_size_come_back_at_their_size(sd):
    wanted = plans()[0]
    cut = wanted.donor.pixels[: 96 - 5, : 128 - 3]
    drawn = one(get(sd), replace(wanted, donor=replace(wanted.donor, pixels=cut)))
    assert drawn.image.shape == (91, 125, 3)


def test_the_version_tells_weights_and_parameters_and_not_where_they_lie(sd, folder):
    moved = shutil.copytree(sd["model"], folder / "moved")
    assert get(sd).version == get({**sd, "model": str(moved)}).version
    assert get(sd).version != get(sd, strength=0.6).version
    other = broken(sd["model"], folder / "other", "unet", lambda s: s["conv_in.bias"].add_(1))
    assert get(sd).version != get({**sd, "model": other}).version


def test_weights_that_are_replaced_in_their_place_are_loaded_anew(sd, folder):
    here = folder / "replaced"
    shutil.copytree(sd["model"], here)
    wanted = plans()[0]
    before = one(get({**sd, "model": str(here)}), wanted)
    shutil.rmtree(here)
    broken(sd["model"], here, "unet", lambda s: s["conv_out.bias"].add_(3))
    after = one(get({**sd, "model": str(here)}), wanted)
    assert before.version != after.version
    assert (before.image != after.image).any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": ""}, "no weights were named"),
        ({"model": "/no/such/folder"}, "there is no folder /no/such/folder"),
        ({"model": "owner/name"}, "owner/name is not on this machine.*`offline` is false"),
        ({"adapter": ""}, "through an IP-Adapter only"),
        ({"adapter": "/no/such/folder"}, "there is no folder /no/such/folder"),
        ({"adapter": "owner/name"}, "owner/name is not on this machine"),
        ({"adapter_weight": "adapter.bin"}, "can run code"),
        ({"adapter_weight": "no.safetensors"}, "no file .*no.safetensors"),
        ({"adapter_encoder": "no"}, "holds no image encoder"),
        ({"pipeline": "FluxFillPipeline"}, "takes no reference image"),
        ({"pipeline": "QwenImageInpaintPipeline"}, "takes no reference image"),
        ({"pipeline": "StableDiffusion3InpaintPipeline"}, "is not known here"),
        ({"pipeline": "NoPipeline"}, "knows no pipeline NoPipeline; accepted are"),
        ({"pipeline": "AutoencoderKL"}, "AutoencoderKL"),
        ({"pipeline": "Flux2KleinPipeline"}, "leave `adapter` empty"),
    ],
)
def test_what_cannot_draw_says_why_before_anything_is_loaded(sd, change, said):
    generator = get({**sd, **change})
    with pytest.raises(GeneratorUnusable, match=said):
        generator.require_ready()
    with pytest.raises(GeneratorUnusable, match=said):
        list(generator.draw(plans()))
    assert list(generator.draw([])) == []


def test_a_folder_that_is_no_pipeline(sd, tmp_path):
    with pytest.raises(GeneratorUnusable, match=r"no model_index.json.*from_single_file"):
        get({**sd, "model": str(tmp_path)}).require_ready()
    for content, said in [("{", "cannot be read"), ("[]", "no list"), ("{}", "names no pipeline")]:
        (tmp_path / "model_index.json").write_text(content)
        with pytest.raises(GeneratorUnusable, match=said):
            get({**sd, "model": str(tmp_path)}).require_ready()
    # a class of the folder's own code is not run
    (tmp_path / "model_index.json").write_text('{"_class_name": ["evil", "Pipeline"]}')
    with pytest.raises(GeneratorUnusable, match="names no pipeline"):
        get({**sd, "model": str(tmp_path)}).require_ready()


def test_parts_that_are_missing_or_do_not_fit(sd, folder):
    gone = shutil.copytree(sd["model"], folder / "gone")
    shutil.rmtree(gone / "unet")
    with pytest.raises(GeneratorUnusable, match="cannot be loaded as StableDiffusionInpaint"):
        list(get({**sd, "model": str(gone)}).draw(plans()))
    wide = tiny.ip_adapter(folder / "wide", tiny.unet(cross_attention_dim=32))
    with pytest.raises(GeneratorUnusable, match="cannot be loaded"):
        list(get({**sd, "adapter": str(wide)}).draw(plans()))
    five = tiny.stable_diffusion(folder / "five", channels=5)
    with pytest.raises(GeneratorUnusable, match="its UNet takes 5 channels; 4, or 9"):
        list(get({**sd, "model": str(five)}).draw(plans()))
    grey = tiny.stable_diffusion(folder / "grey", out_channels=1)
    with pytest.raises(GeneratorUnusable, match="writes 1 channels; pictures have 3"):
        list(get({**sd, "model": str(grey)}).draw(plans()))


def test_pickled_weights_are_not_read(sd, folder):
    unsafe = shutil.copytree(sd["model"], folder / "unsafe")
    file = next((unsafe / "unet").glob("*.safetensors"))
    torch.save(load_file(file), unsafe / "unet" / "diffusion_pytorch_model.bin")
    file.unlink()
    with pytest.raises(GeneratorUnusable, match="cannot be loaded"):
        list(get({**sd, "model": str(unsafe)}).draw(plans()))


def undrawn(weights, **more):
    answers = list(get(weights, **more).draw(plans(2)))
    assert len(answers) == 2
    assert all(isinstance(answer, Undrawn) for answer in answers)
    return answers[0].reason


def test_what_is_no_picture_is_not_kept(sd, folder):
    def nan(state):
        state["decoder.conv_out.bias"].fill_(float("nan"))

    def black(state):
        state["decoder.conv_out.weight"].zero_()
        state["decoder.conv_out.bias"].fill_(-9.0)

    bad = broken(sd["model"], folder / "nan", "vae", nan)
    assert "not a number" in undrawn({**sd, "model": bad})
    bad = broken(sd["model"], folder / "black", "vae", black)
    assert "black picture" in undrawn({**sd, "model": bad})


def test_a_safety_checker_that_refuses_costs_the_sample_and_can_be_left_out(sd, folder):
    model = tiny.stable_diffusion(folder / "checked", checker=True)
    weights = {**sd, "model": str(model)}
    assert "safety checker refused" in undrawn(weights)
    drawn = one(get(weights, safety_checker=False), plans()[0])
    assert drawn.parameters["safety_checker"] is False
    assert get(weights).version != drawn.version


def test_names_on_the_hub_are_found_in_its_folder_on_this_machine(sd, folder, tmp_path):
    """In a process of its own: the hub's client reads where that folder is when it is imported."""
    cached = tmp_path / "hub" / "models--owner--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("a" * 40)
    shutil.copytree(sd["model"], cached / "snapshots" / ("a" * 40))
    shutil.rmtree(cached / "snapshots" / ("a" * 40) / "words")
    program = f"""
import sys
from curation import synthesis
import curation.synthesis.bridge, curation.synthesis.pipelines
heavy = {{"diffusers", "transformers"}} & set(sys.modules)
assert not heavy, heavy  # whoever draws nothing does not wait for them
weights = {{"adapter": {sd["adapter"]!r}, "device": "cpu"}}
generator = synthesis.get("diffusers", model="owner/name", **weights)
generator.require_ready()
assert generator.version == synthesis.get("diffusers", model={sd["model"]!r}, **weights).version
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hub")}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


def test_a_package_that_is_missing_is_named():
    require_packages("diffusers", "transformers")
    with pytest.raises(GeneratorUnusable, match=r"no-such must be installed: pip install 'e2x\["):
        require_packages("diffusers", "no-such")


@pytest.mark.gpu
def test_half_precision_on_a_gpu_draws_the_same_twice(sd):
    wanted = plans()[0]
    first = one(get(sd, device="cuda", strength=0.6, steps=4), wanted)
    release()
    again = one(get(sd, device="cuda", strength=0.6, steps=4), wanted)
    assert np.abs(first.image.astype(int) - again.image).max() <= 2
    assert first.version != get(sd, strength=0.6, steps=4).version


def test_out_of_memory_costs_its_own_sample_only(sd):
    """The allocator of PyTorch refuses what no machine has; the next sample is drawn."""
    generator, wanted = get(sd), plans(2)
    pipe = generator._loaded().pipe

    def greedy(*_):
        hook.remove()
        torch.empty(1 << 56)

    hook = pipe.unet.register_forward_pre_hook(greedy)
    first, second = generator.draw(wanted)
    assert isinstance(first, Undrawn)
    assert first.reason.startswith("out of memory: lower `resolution`")
    assert isinstance(second, Drawn)


def test_a_plan_that_cannot_be_staged_costs_its_neighbours_nothing(sd):
    wanted = plans(2)
    small = replace(wanted[0].harm, box_xyxy=(50.0, 40.0, 51.0, 41.0))
    first, second = get(sd).draw([replace(wanted[0], harm=small), wanted[1]])
    assert isinstance(first, Undrawn)
    assert "choose a known object" in first.reason
    assert isinstance(second, Drawn)


@pytest.mark.parametrize(
    "bad",
    [
        {"strength": 0.0},
        {"strength": 1.5},
        {"steps": 1, "strength": 0.5},
        {"adapter_scale": -1.0},
        {"guidance": -1.0},
        {"resolution": 9000},
        {"blending": "poisson"},
    ],
)
def test_parameters_are_refused_at_the_edge(bad):
    with pytest.raises(ValueError, match=r"must|no blending"):
        get({}, **bad)
