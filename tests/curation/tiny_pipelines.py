"""Pipelines of a few thousand random weights, saved as users have theirs."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import torch
import transformers
from safetensors.torch import save_file

TOKENS = 16
"""Width of text and image tokens."""


def text_encoder() -> transformers.CLIPTextModel:
    config = transformers.CLIPTextConfig(**_text())
    return transformers.CLIPTextModel(config).eval()


def _text() -> dict[str, int]:
    return {
        "vocab_size": 514,
        "hidden_size": TOKENS,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": TOKENS,
        "bos_token_id": 512,
        "eos_token_id": 513,
        "pad_token_id": 513,
    }


def tokenizer(folder: Path) -> transformers.CLIPTokenizer:
    """One of single bytes."""
    letters = _byte_words()
    words = [*letters, *[f"{letter}</w>" for letter in letters]]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def _byte_words() -> list[str]:
    """Each byte as these tokenizers write it."""
    letters = [chr(sign) for sign in (*range(33, 127), *range(161, 173), *range(174, 256))]
    return letters + [chr(256 + n) for n in range(256 - len(letters))]


def unet(channels: int = 4, **more) -> diffusers.UNet2DConditionModel:
    told = {
        "sample_size": 32,
        "in_channels": channels,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": TOKENS,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    return diffusers.UNet2DConditionModel(**{**told, **more}).eval()


def vae(**more) -> diffusers.AutoencoderKL:
    told = {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "sample_size": 64,
        "layers_per_block": 1,
    }
    return diffusers.AutoencoderKL(**{**told, **more}).eval()


def scheduler() -> diffusers.DDIMScheduler:
    return diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )


def stable_diffusion(folder: Path, channels: int = 4, checker: bool = False, **vae_more) -> Path:
    """A folder of the first Stable Diffusion, or of its inpainting model with 9 channels."""
    torch.manual_seed(0)
    parts = {
        "vae": vae(**vae_more),
        "text_encoder": text_encoder(),
        "tokenizer": tokenizer(folder / "words"),
        "unet": unet(channels),
        "scheduler": scheduler(),
        "safety_checker": _checker() if checker else None,
        "feature_extractor": _processor() if checker else None,
        "requires_safety_checker": checker,
    }
    diffusers.StableDiffusionInpaintPipeline(**parts).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: openrail\n---\nRandom weights.\n")
    return folder


def stable_diffusion_xl(folder: Path) -> Path:
    torch.manual_seed(0)
    second = transformers.CLIPTextModelWithProjection(transformers.CLIPTextConfig(**_text()))
    words = tokenizer(folder / "words")
    # tokens of both encoders side by side; six numbers of 8 and the pooled second text
    net = unet(
        cross_attention_dim=2 * TOKENS,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + TOKENS,
    )
    diffusers.StableDiffusionXLInpaintPipeline(
        *(vae(), text_encoder(), second.eval(), words, words, net, scheduler()),
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def flux2_klein(folder: Path) -> Path:
    torch.manual_seed(0)
    text = transformers.Qwen3Config(
        vocab_size=600,
        hidden_size=TOKENS,
        intermediate_size=32,
        num_hidden_layers=27,  # the pipeline reads the 9th, the 18th and the 27th
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
    )
    words = _byte_words()
    chat = transformers.Qwen2TokenizerFast(
        vocab={word: n for n, word in enumerate([*words, "<|endoftext|>"])}, merges=[]
    )
    chat.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    parts = {
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        "vae": diffusers.AutoencoderKLFlux2(
            block_out_channels=(4, 4),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=1,
            sample_size=64,
        ).eval(),
        "text_encoder": transformers.Qwen3ForCausalLM(text).eval(),
        "tokenizer": chat,
        "transformer": diffusers.Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=3 * TOKENS,
            timestep_guidance_channels=16,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ).eval(),
        "is_distilled": True,
    }
    diffusers.Flux2KleinInpaintPipeline(**parts).save_pretrained(folder)
    return folder


def flux_kontext(folder: Path) -> Path:
    torch.manual_seed(0)
    t5 = transformers.T5Config(
        vocab_size=600, d_model=TOKENS, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *[(c, -1.0) for c in "▁abcdefg"]]
    parts = {
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        "vae": vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.1),
        "text_encoder": text_encoder(),
        "tokenizer": tokenizer(folder / "words"),
        "text_encoder_2": transformers.T5EncoderModel(t5).eval(),
        "tokenizer_2": transformers.T5TokenizerFast(vocab=pieces, extra_ids=0),
        "transformer": diffusers.FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=TOKENS,
            pooled_projection_dim=TOKENS,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ).eval(),
    }
    diffusers.FluxKontextInpaintPipeline(**parts).save_pretrained(folder)
    return folder


def ip_adapter(folder: Path, net: diffusers.UNet2DConditionModel, tokens: int = 4) -> Path:
    """An adapter in the published layout: one file, and a folder with its image encoder."""
    torch.manual_seed(1)
    config = transformers.CLIPVisionConfig(
        hidden_size=TOKENS,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=TOKENS,
    )
    encoder = transformers.CLIPVisionModelWithProjection(config)
    encoder.save_pretrained(folder / "models" / "image_encoder")
    wide = net.config.cross_attention_dim
    state = {
        "image_proj.proj.weight": torch.randn(tokens * wide, TOKENS),
        "image_proj.proj.bias": torch.randn(tokens * wide),
        "image_proj.norm.weight": torch.ones(wide),
        "image_proj.norm.bias": torch.zeros(wide),
    }
    for row, (name, processor) in enumerate(_cross_attention(net)):
        hidden = net.get_submodule(name.removesuffix(".processor")).to_k.out_features
        del processor
        for part in ("to_k_ip", "to_v_ip"):
            state[f"ip_adapter.{2 * row + 1}.{part}.weight"] = torch.randn(hidden, wide)
    save_file(state, folder / "models" / "ip-adapter_sd15.safetensors")
    return folder


def _cross_attention(net):
    return [item for item in net.attn_processors.items() if "attn2" in item[0]]


def _processor() -> transformers.CLIPImageProcessor:
    return transformers.CLIPImageProcessor(size=32, crop_size=32)


def _checker():
    """A checker that refuses every picture: all its thresholds are below any similarity."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    vision = {
        "hidden_size": TOKENS,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    }
    config = transformers.CLIPConfig(
        text_config=_text(), vision_config=vision, projection_dim=TOKENS
    )
    checker = StableDiffusionSafetyChecker(config).eval()
    for name in ("concept_embeds_weights", "special_care_embeds_weights"):
        getattr(checker, name).data.fill_(-1.0)
    return checker
