"""Which pipelines are accepted, and how each is given a picture of what hurt.

A pipeline without an image condition is refused: what it draws would be conditioned on words, and
nothing of what hurt could reach it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from curation.kernel.errors import GeneratorUnusable
from curation.kernel.types import BoolArray, ImageArray

_CONDITIONS = ("ip_adapter_image", "image_reference")


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """What a pipeline is given; all of one size [h, w].

    Attributes:
        picture: [h, w, 3] uint8, the composite that it starts from.
        free: [h, w] bool, what it may change.
        harm: [S, S, 3] uint8, a picture of what hurt.
        known: [T, T, 3] uint8, a picture of the object that stays.
    """

    picture: ImageArray
    free: BoolArray
    harm: ImageArray
    known: ImageArray


@dataclass(frozen=True, slots=True)
class Call:
    """How it is called; see ``generator.Diffusers``."""

    strength: float
    steps: int
    guidance: float
    adapter_scale: float
    prompt: str
    negative_prompt: str


@dataclass(frozen=True, slots=True)
class Family:
    """Pipelines that are called in the same way.

    Attributes:
        pipeline: class of diffusers that draws.
        saved_as: classes whose saved parts it can be made of.
        adapter: whether it takes its reference through an IP-Adapter.
        half: precision on a GPU.
        options: further arguments of loading.
        arguments: of a call, beside picture, mask, size, steps, strength and generator.
    """

    pipeline: str
    saved_as: tuple[str, ...]
    adapter: bool
    half: torch.dtype
    options: Mapping[str, Any]
    arguments: Callable[[Any, Canvas, Call], dict[str, Any]]


def _masked_references(pipe: Any, canvas: Canvas, call: Call) -> dict[str, Any]:
    """Two references through one adapter: what hurt in the hole, the object where it stays.

    Masks leak through self-attention; the object is kept by putting it back.
    """
    from diffusers.image_processor import IPAdapterMaskProcessor

    height, width = canvas.free.shape
    where = [Image.fromarray(m.astype(np.uint8) * 255) for m in (canvas.free, ~canvas.free)]
    processor = IPAdapterMaskProcessor(vae_scale_factor=pipe.vae_scale_factor)
    masks = processor.preprocess(where, height=height, width=width)  # [2, 1, h, w]
    pipe.set_ip_adapter_scale([[call.adapter_scale, call.adapter_scale]])
    return {
        "ip_adapter_image": [[Image.fromarray(canvas.harm), Image.fromarray(canvas.known)]],
        "cross_attention_kwargs": {"ip_adapter_masks": [masks.reshape(1, 2, height, width)]},
        "negative_prompt": call.negative_prompt or None,
        "guidance_scale": call.guidance,
    }


def _flux2_reference(pipe: Any, canvas: Canvas, call: Call) -> dict[str, Any]:
    return {"image_reference": _at_size(canvas), "guidance_scale": call.guidance}


def _kontext_reference(pipe: Any, canvas: Canvas, call: Call) -> dict[str, Any]:
    more = {"negative_prompt": call.negative_prompt} if call.negative_prompt else {}
    height, width = canvas.free.shape
    # the size is chosen here: resized by the pipeline, the picture would no longer fit its window
    return {
        "image_reference": _at_size(canvas),
        "guidance_scale": call.guidance,
        "max_area": height * width,
        "_auto_resize": False,
        **more,
    }


def _at_size(canvas: Canvas) -> Image.Image:
    """The reference with the longer side of the picture: its tokens cost as much as these."""
    side = max(canvas.free.shape)
    return Image.fromarray(canvas.harm).resize((side, side), Image.Resampling.BICUBIC)


_FAMILIES = (
    Family(
        "StableDiffusionInpaintPipeline",
        (
            "StableDiffusionPipeline",
            "StableDiffusionImg2ImgPipeline",
            "StableDiffusionInpaintPipeline",
        ),
        True,
        torch.float16,
        {},
        _masked_references,
    ),
    Family(
        "StableDiffusionXLInpaintPipeline",
        (
            "StableDiffusionXLPipeline",
            "StableDiffusionXLImg2ImgPipeline",
            "StableDiffusionXLInpaintPipeline",
        ),
        True,
        torch.float16,
        {"add_watermarker": False},  # a mark in every generated picture would be learned
        _masked_references,
    ),
    Family(
        "Flux2KleinInpaintPipeline",
        ("Flux2KleinPipeline", "Flux2KleinInpaintPipeline"),
        False,
        torch.bfloat16,  # these were trained in it; float16 overflows
        {},
        _flux2_reference,
    ),
    Family(
        "FluxKontextInpaintPipeline",
        ("FluxKontextPipeline", "FluxKontextInpaintPipeline"),
        False,
        torch.bfloat16,
        {},
        _kontext_reference,
    ),
)


def accepted() -> tuple[str, ...]:
    """Classes of pipelines whose weights are accepted."""
    return tuple(name for family in _FAMILIES for name in family.saved_as)


def family_of(class_name: str, adapter: bool) -> Family:
    """How a pipeline of this class is called.

    Args:
        class_name: as its folder says, or as the user wants it.
        adapter: whether an IP-Adapter was named.

    Raises:
        GeneratorUnusable: it takes no reference image, or not in a way that is known here, or
            the installed diffusers does not have it.
    """
    import diffusers

    for family in _FAMILIES:
        if class_name in family.saved_as:
            if not hasattr(diffusers, family.pipeline):
                raise GeneratorUnusable(
                    f"{family.pipeline} is not in diffusers {diffusers.__version__}: install a "
                    f"newer one"
                )
            if family.adapter and not adapter:
                raise GeneratorUnusable(
                    f"{family.pipeline} takes a picture of what hurt through an IP-Adapter only: "
                    f"name one (`adapter`, `adapter_weight`, `adapter_encoder`)"
                )
            if adapter and not family.adapter:
                raise GeneratorUnusable(
                    f"{family.pipeline} takes a reference image itself: leave `adapter` empty"
                )
            return family
    raise GeneratorUnusable(_why_not(class_name, getattr(diffusers, class_name, None)))


def _why_not(class_name: str, found: Any) -> str:
    which = f"accepted are {', '.join(accepted())}"
    if not inspect.isclass(found) or not hasattr(found, "from_pretrained"):
        return f"diffusers knows no pipeline {class_name}; {which}"
    call = inspect.signature(vars(found).get("__call__", found))
    takes = [name for name in _CONDITIONS if name in call.parameters]
    if not takes:
        return (
            f"{class_name} takes no reference image, so that nothing it draws would be conditioned "
            f"on what hurt; {which}"
        )
    return f"{class_name} takes {takes[0]}, but how it is called is not known here; {which}"
