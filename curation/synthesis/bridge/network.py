"""The network: a small UNet over folded pixels that attends to region vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

FOLD = 2
"""Pixels are folded by two into channels: convolutions at full size cost more than all else."""
_COLOURS = 3 * FOLD**2
_MASK = FOLD**2
CONTEXT = 2 * _COLOURS + 2 * _MASK
"""Channels beside the noise: what is seen, the composite, the hole, the object's box."""
NOISE_STEPS = 1000


@dataclass(frozen=True, slots=True)
class NetworkSize:
    """How large the network is.

    Attributes:
        vector_width: V, of a region vector.
        num_classes: K, classes with 0 for no object.
        side_px: of the square windows that it sees; a multiple of ``2 ** len(channels)``.
        channels: of each level, multiples of 8, from fine to coarse; two levels at least. All but
            the finest attend to the region vectors.
        layers: of each level.
        token_width: of a token.
    """

    vector_width: int
    num_classes: int
    side_px: int = 64
    channels: tuple[int, ...] = (64, 96, 128)
    layers: int = 1
    token_width: int = 128

    def __post_init__(self) -> None:
        if self.vector_width < 2 or self.vector_width % 2 or self.num_classes < 1:
            raise ValueError("vector_width must be even and num_classes at least 1")
        if len(self.channels) < 2 or any(width < 8 or width % 8 for width in self.channels):
            raise ValueError(f"channels {self.channels} must be two or more multiples of 8")
        if self.side_px < 1 or self.side_px % 2 ** len(self.channels):
            raise ValueError(f"side_px must be a multiple of {2 ** len(self.channels)}")


class BridgeNetwork(nn.Module):
    """Predicts the velocity of a noisy window.

    Args:
        size: see :class:`NetworkSize`.

    Source:
        Conditioning by cross-attention: Rombach et al., "High-Resolution Image Synthesis with
        Latent Diffusion Models", 2022; velocity: Salimans and Ho, "Progressive Distillation", 2022.
        Here the tokens are region vectors of the encoder that also searches the pool.
    """

    def __init__(self, size: NetworkSize) -> None:
        import diffusers  # slow to import

        super().__init__()
        attending = len(size.channels) - 1
        unet: Any = diffusers.UNet2DConditionModel
        self.unet = unet(
            sample_size=size.side_px // FOLD,
            in_channels=_COLOURS + CONTEXT,
            out_channels=_COLOURS,
            block_out_channels=size.channels,
            layers_per_block=size.layers,
            down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * attending),
            up_block_types=(*("CrossAttnUpBlock2D",) * attending, "UpBlock2D"),
            cross_attention_dim=size.token_width,
            attention_head_dim=8,
            norm_num_groups=8,
        )
        half = size.vector_width // 2
        self.tokens = nn.ModuleList(
            nn.Sequential(nn.Linear(half, size.token_width), nn.LayerNorm(size.token_width))
            for _ in range(2)
        )
        self.classes = nn.Embedding(size.num_classes, size.token_width)
        self.nothing = nn.Parameter(torch.zeros(2, size.token_width))

    def forward(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        context: torch.Tensor,
        vectors: torch.Tensor,
        labels: torch.Tensor,
        told: torch.Tensor,
    ) -> torch.Tensor:
        """Velocity [B, 12, h, w].

        Args:
            noisy: [B, 12, h, w], see :func:`fold`.
            times: [B] int64 in 0..NOISE_STEPS - 1.
            context: [B, CONTEXT, h, w], see :func:`context_of`.
            vectors: [B, V] float32 of unit length, region then ring.
            labels: [B] int64 of the object; 0 for none.
            told: [B] bool, whether the network may know the vector.
        """
        halves = vectors.chunk(2, dim=1)
        scale = halves[0].shape[1] ** 0.5  # unit length to unit variance
        tokens = torch.stack(
            [token(half * scale) for token, half in zip(self.tokens, halves, strict=True)], dim=1
        )  # [B, 2, T]
        tokens = torch.where(told[:, None, None], tokens, self.nothing)
        tokens = torch.cat([self.classes(labels)[:, None], tokens], dim=1)  # [B, 3, T]
        inputs = torch.cat([noisy, context], dim=1)
        velocity: torch.Tensor = self.unet(inputs, times, encoder_hidden_states=tokens).sample
        return velocity


def noise_schedule() -> Any:
    """Of training and of drawing; ends in pure noise, so that nothing is drawn from a leak."""
    import diffusers

    schedule: Any = diffusers.DDIMScheduler
    return schedule(
        num_train_timesteps=NOISE_STEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        set_alpha_to_one=True,
        clip_sample=True,
    )


def fold(pixels: torch.Tensor) -> torch.Tensor:
    """[B, 12, h / 2, w / 2] float32 in -1..1 of pictures [B, h, w, 3] uint8."""
    scaled = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    return functional.pixel_unshuffle(scaled, FOLD)


def unfold(folded: torch.Tensor) -> torch.Tensor:
    """[B, h, w, 3] float32 in 0..255, the reverse of :func:`fold`."""
    return (functional.pixel_shuffle(folded, FOLD).permute(0, 2, 3, 1) + 1) * 127.5


def fold_mask(mask: torch.Tensor) -> torch.Tensor:
    """[B, 4, h / 2, w / 2] float32 of masks [B, h, w] bool."""
    return functional.pixel_unshuffle(mask[:, None].float(), FOLD)


def context_of(
    folded: torch.Tensor,
    composite: torch.Tensor,
    hole: torch.Tensor,
    box: torch.Tensor,
    given: torch.Tensor,
) -> torch.Tensor:
    """[B, CONTEXT, h, w].

    Args:
        folded: [B, 12, h, w] of the picture; what lies in the hole is taken out.
        composite: [B, 12, h, w]; what lies beside the hole is taken out.
        hole: [B, 4, h, w], see :func:`fold_mask`.
        box: [B, 4, h, w] of the object's box.
        given: [B] bool, whether the network may see the composite.
    """
    inside = hole.repeat(1, 3, 1, 1)  # pixel_unshuffle keeps the colours apart, as this does
    shown = composite * inside * given[:, None, None, None]
    return torch.cat([folded * (1 - inside), shown, hole, box], dim=1)
