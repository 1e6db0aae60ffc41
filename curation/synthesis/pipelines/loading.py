"""A pipeline loaded from files of this machine, and one picture drawn with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from PIL import Image

from curation.kernel.errors import DrawingFailed, GeneratorUnusable
from curation.kernel.types import FloatArray
from curation.synthesis.finish import first_line
from curation.synthesis.pipelines.families import Call, Canvas, Family
from curation.synthesis.pipelines.weights import Found


def load(
    family: Family, found: Found, device: str, variant: str, checker: bool, offload: bool
) -> Any:
    """The pipeline, ready to draw.

    Args:
        family: see :func:`curation.synthesis.pipelines.families.family_of`.
        found: its weights.
        device: "cpu", "cuda", "cuda:1".
        variant: see ``weights.Source``.
        checker: whether a safety checker that is among the parts is loaded.
        offload: whether parts wait in main memory until they are used; needs a GPU.

    Raises:
        GeneratorUnusable: parts are missing or do not fit.
    """
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()  # a worker's log is no terminal
    cpu = torch.device(device).type == "cpu"
    options: dict[str, Any] = dict(family.options)
    if not checker and family.pipeline == "StableDiffusionInpaintPipeline":
        options |= {"safety_checker": None, "requires_safety_checker": False}
    dtype = torch.float32 if cpu else family.half
    try:
        pipe: Any = getattr(diffusers, family.pipeline).from_pretrained(
            found.folder,
            local_files_only=True,  # all that is needed was found or fetched before
            use_safetensors=True,  # a pickle can run code when it is read
            variant=variant or None,
            dtype=dtype,
            **options,
        )
        if family.adapter:
            _load_adapter(pipe, found, dtype)
    except GeneratorUnusable:
        raise
    except Exception as problem:  # torch, safetensors, transformers and diffusers each have theirs
        raise GeneratorUnusable(
            f"{found.folder} cannot be loaded as {family.pipeline}: {first_line(problem)}"
        ) from problem
    _require_channels(pipe, found)
    pipe.set_progress_bar_config(disable=True)
    pipe.vae.enable_slicing()
    if offload and not cpu:
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.to(device)
    return pipe


def _load_adapter(pipe: Any, found: Found, dtype: torch.dtype) -> None:
    from transformers import CLIPVisionModelWithProjection

    if found.encoder is not None:
        encoder = CLIPVisionModelWithProjection.from_pretrained(
            found.encoder, local_files_only=True, use_safetensors=True, dtype=dtype
        )
        pipe.register_modules(image_encoder=encoder)
    if pipe.image_encoder is None or found.adapter is None:
        raise GeneratorUnusable(
            "the adapter has no image encoder: name its folder (`adapter_encoder`)"
        )
    pipe.load_ip_adapter(
        str(found.adapter.parent),
        subfolder="",
        weight_name=found.adapter.name,
        image_encoder_folder=None,
        local_files_only=True,
    )


def _require_channels(pipe: Any, found: Found) -> None:
    vae = pipe.vae.config
    if (vae.in_channels, vae.out_channels) != (3, 3):
        raise GeneratorUnusable(
            f"{found.folder}: its VAE reads {vae.in_channels} and writes {vae.out_channels} "
            f"channels; pictures have 3"
        )
    if getattr(pipe, "unet", None) is None:
        return
    takes, latent = pipe.unet.config.in_channels, vae.latent_channels
    if takes not in (latent, 2 * latent + 1):
        raise GeneratorUnusable(
            f"{found.folder}: its UNet takes {takes} channels; {latent}, or {2 * latent + 1} of an "
            f"inpainting model, go with its VAE"
        )


def draw(pipe: Any, family: Family, canvas: Canvas, call: Call, seed: int) -> FloatArray:
    """[h, w, 3] float32 in 0..255, what the pipeline makes of the canvas.

    Raises:
        DrawingFailed: its safety checker refused the picture.
    """
    height, width = canvas.free.shape
    # on the CPU whatever the device: the same seed is the same noise everywhere
    generator = torch.Generator("cpu").manual_seed(seed)
    with torch.inference_mode():
        answer = pipe(
            prompt=call.prompt,
            image=Image.fromarray(canvas.picture),
            mask_image=Image.fromarray(canvas.free.astype(np.uint8) * 255),
            height=height,
            width=width,
            strength=call.strength,
            num_inference_steps=call.steps,
            generator=generator,
            output_type="np",
            **family.arguments(pipe, canvas, call),
        )
    if any(getattr(answer, "nsfw_content_detected", None) or ()):
        raise DrawingFailed(
            "the pipeline's safety checker refused the picture (`safety_checker` leaves it out)"
        )
    drawn: FloatArray = np.asarray(answer.images[0], np.float32) * 255
    return drawn


def native_side(pipe: Any) -> int:
    """Side in px of the square pictures that a pipeline was trained with."""
    size = getattr(pipe, "default_sample_size", None)
    if size is None:
        size = pipe.unet.config.sample_size
    return int(size if isinstance(size, int) else max(size)) * int(pipe.vae_scale_factor)


def multiple(pipe: Any) -> int:
    """What both sides are divided by on the way down: VAE, then UNet or patches of two.

    Of 8 at least, which the pipelines ask for themselves.
    """
    unet = getattr(pipe, "unet", None)
    levels = len(unet.config.down_block_types) - 1 if unet is not None else 1
    return math.lcm(8, int(pipe.vae_scale_factor) * int(2**levels))
