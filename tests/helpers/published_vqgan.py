"""VQGAN as it was published, in plain PyTorch: the network that published checkpoints belong to.

Its submodules carry taming-transformers' names, so that ``state_dict()`` has that layout; :func:`diffusers_layout`
renames it. Written from the documented names and shapes, and meant to be read beside them.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# A face VQGAN in small: two levels more than one, a widening level, attention at the coarsest resolution.
SMALL: dict[str, Any] = {
    "ch": 32,
    "ch_mult": (1, 1, 2),
    "num_res_blocks": 2,
    "attn_resolutions": (8,),
    "resolution": 32,
    "z_channels": 24,
    "embed_dim": 12,
    "n_embed": 40,
}


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(before), nn.Conv2d(before, after, 3, padding=1)
        self.norm2, self.conv2 = norm(after), nn.Conv2d(after, after, 3, padding=1)
        if before != after:
            self.nin_shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(swish(self.norm2(self.conv1(swish(self.norm1(x))))))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttnBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2) for layer in (self.q, self.k, self.v))  # (B, C, HW)
        scores = torch.einsum("bci,bcj->bij", q, k) / x.shape[1] ** 0.5
        return x + self.proj_out(torch.einsum("bij,bcj->bci", scores.softmax(-1), v).reshape(x.shape))


class Middle(nn.Module):
    def __init__(self, channels: int, attention: bool) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels)
        self.attn_1 = AttnBlock(channels) if attention else nn.Identity()
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Resample(nn.Module):
    def __init__(self, channels: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv = nn.Conv2d(channels, channels, 3, stride=2) if down else nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.down:
            return self.conv(functional.pad(x, (0, 1, 0, 1)))
        return self.conv(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))


class Level(nn.Module):
    def __init__(self, before: int, after: int, blocks: int, attention: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(before if i == 0 else after, after) for i in range(blocks))
        self.attn = nn.ModuleList(AttnBlock(after) for _ in range(blocks if attention else 0))

    def forward(self, x: Tensor) -> Tensor:
        for index, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[index](x)
        for name in ("downsample", "upsample"):
            x = getattr(self, name)(x) if hasattr(self, name) else x
        return x


class Half(nn.Module):
    """The encoder or the decoder."""

    def __init__(self, settings: dict[str, Any], decodes: bool) -> None:
        super().__init__()
        widths = [settings["ch"] * factor for factor in settings["ch_mult"]]
        levels, blocks, top = len(widths), settings["num_res_blocks"] + decodes, widths[-1]
        attention = [settings["resolution"] >> level in settings["attn_resolutions"] for level in range(levels)]
        middle = Middle(top, settings.get("middle_attention", True))
        self.decodes = decodes
        if decodes:
            self.conv_in = nn.Conv2d(settings["z_channels"], top, 3, padding=1)
            self.mid = middle
            befores = [*widths[1:], top]
            self.up = nn.ModuleList(Level(befores[i], widths[i], blocks, attention[i]) for i in range(levels))
            for level in range(1, levels):
                self.up[level].upsample = Resample(widths[level], down=False)
            self.norm_out, self.conv_out = norm(widths[0]), nn.Conv2d(widths[0], 3, 3, padding=1)
        else:
            self.conv_in = nn.Conv2d(3, settings["ch"], 3, padding=1)
            befores = [settings["ch"], *widths[:-1]]
            self.down = nn.ModuleList(Level(befores[i], widths[i], blocks, attention[i]) for i in range(levels))
            for level in range(levels - 1):
                self.down[level].downsample = Resample(widths[level], down=True)
            self.mid = middle
            self.norm_out, self.conv_out = norm(top), nn.Conv2d(top, settings["z_channels"], 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        if self.decodes:
            x = self.mid(x)
            for level in reversed(self.up):
                x = level(x)
        else:
            for level in self.down:
                x = level(x)
            x = self.mid(x)
        return self.conv_out(swish(self.norm_out(x)))


class PublishedVQGAN(nn.Module):
    """``forward(images (B, 3, H, W))`` returns codes ``(B, h·w)`` and the reconstruction ``(B, 3, H, W)``."""

    def __init__(self, settings: dict[str, Any] = SMALL, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.encoder, self.decoder = Half(settings, decodes=False), Half(settings, decodes=True)
        self.quant_conv = nn.Conv2d(settings["z_channels"], settings["embed_dim"], 1)
        self.post_quant_conv = nn.Conv2d(settings["embed_dim"], settings["z_channels"], 1)
        self.quantize = nn.Module()
        self.quantize.embedding = nn.Embedding(settings["n_embed"], settings["embed_dim"])
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if "norm" in name:  # away from 1 and 0, where a swap would not be seen
                    parameter.add_(0.2 * torch.randn_like(parameter))
            # Codes around the latents of noise, so that many of them are used.
            latents = self.latents(torch.randn(8, 3, settings["resolution"], settings["resolution"]))
            rows = latents.permute(0, 2, 3, 1).reshape(-1, settings["embed_dim"])
            picks = torch.randperm(len(rows))[: settings["n_embed"]]
            self.quantize.embedding.weight.copy_(rows[picks])

    def latents(self, images: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(images))

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        latents = self.latents(images)
        batch, length, height, width = latents.shape
        rows = latents.permute(0, 2, 3, 1).reshape(-1, length)
        codes = torch.cdist(rows.double(), self.quantize.embedding.weight.double()).argmin(-1)
        chosen = self.quantize.embedding(codes).reshape(batch, height, width, length).permute(0, 3, 1, 2)
        return codes.reshape(batch, height * width), self.decoder(self.post_quant_conv(chosen))


def diffusers_layout(state: dict[str, Tensor], levels: int, early: bool = False) -> dict[str, Tensor]:
    """The same tensors as diffusers' ``VQModel`` names them; ``early`` as it did before 2023."""
    names = ("query", "key", "value", "proj_attn") if early else ("to_q", "to_k", "to_v", "to_out.0")
    renamed = {}
    for name, value in state.items():
        if re.search(r"\.attn(_1|\.\d+)\.", name):
            for theirs, ours in zip(("q", "k", "v", "proj_out"), names, strict=True):
                name = re.sub(rf"\.{theirs}\.(?=weight|bias)", f".{ours}.", name)
            name = name.replace(".norm.", ".group_norm.")
            value = value.flatten(1) if value.ndim == 4 else value  # 1 × 1 convolutions become linear maps
        name = name.replace("mid.block_1", "mid_block.resnets.0").replace("mid.block_2", "mid_block.resnets.1")
        name = name.replace("mid.attn_1", "mid_block.attentions.0")
        name = re.sub(r"\bdown\.(\d+)", r"down_blocks.\1", name)
        name = re.sub(r"\bup\.(\d+)", lambda found: f"up_blocks.{levels - 1 - int(found[1])}", name)
        name = name.replace(".downsample.", ".downsamplers.0.").replace(".upsample.", ".upsamplers.0.")
        name = re.sub(r"\.block\.", ".resnets.", name)
        name = re.sub(r"\.attn\.", ".attentions.", name)
        name = name.replace("nin_shortcut", "conv_shortcut").replace("norm_out", "conv_norm_out")
        renamed[name] = value
    return renamed


def diffusers_configuration(settings: dict[str, Any] = SMALL) -> dict[str, Any]:
    """The ``config.json`` that belongs to :func:`diffusers_layout`."""
    levels = len(settings["ch_mult"])
    attention = [settings["resolution"] >> level in settings["attn_resolutions"] for level in range(levels)]
    return {
        "_class_name": "VQModel",
        "act_fn": "silu",
        "block_out_channels": [settings["ch"] * factor for factor in settings["ch_mult"]],
        "down_block_types": ["AttnDownEncoderBlock2D" if wants else "DownEncoderBlock2D" for wants in attention],
        "up_block_types": ["AttnUpDecoderBlock2D" if wants else "UpDecoderBlock2D" for wants in reversed(attention)],
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": settings["z_channels"],
        "layers_per_block": settings["num_res_blocks"],
        "norm_num_groups": 32,
        "num_vq_embeddings": settings["n_embed"],
        "vq_embed_dim": settings["embed_dim"],
        "sample_size": settings["resolution"],
        "mid_block_add_attention": settings.get("middle_attention", True),
    }
