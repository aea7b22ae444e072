"""A masked autoencoder as somebody would write it well in plain PyTorch, with or without beliefs over a codebook.

It has the parameter names of ``gptface.systems.pacofr.PaCoFR`` (``encodes="visible"``), so that both can work on one
set of weights. Unlike the published code (He et al., 2111.06377) it embeds visible patches only, keeps the shuffled
order in the decoder, whose positions are shuffled along, and predicts pixels of masked patches only: the same numbers
for less.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.objectives.patches import FLAT
from gptface.systems.pacofr import PaCoFRConfig

__all__ = ["PlainMaskedAutoencoder"]


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        batch, slots, width = states.shape
        parts = self.query_key_value(states).view(batch, slots, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.output(mixed.transpose(1, 2).reshape(batch, slots, width))


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int, eps: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention = _Attention(width, heads)
        self.feed_forward_norm = nn.LayerNorm(width, eps=eps)
        self.expand = nn.Linear(width, inner)
        self.contract = nn.Linear(inner, width)

    def forward(self, states: Tensor) -> Tensor:
        states = states + self.attention(self.attention_norm(states))
        return states + self.contract(functional.gelu(self.expand(self.feed_forward_norm(states))))


class _Positions(nn.Module):
    def __init__(self, grid: tuple[int, int], width: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(grid[0], width)
        self.columns = nn.Embedding(grid[1], width)

    def forward(self) -> Tensor:
        return (self.rows.weight[:, None] + self.columns.weight[None]).flatten(0, 1)


class _Encoder(nn.Module):
    def __init__(self, config: PaCoFRConfig) -> None:
        super().__init__()
        width, heads, eps = config.hidden_size, config.num_attention_heads, config.layer_norm_eps
        self.embedding = nn.ModuleDict({"projection": nn.Linear(config.patch_pixels, width)})
        self.positions = _Positions(config.grid, width)
        self.layers = nn.ModuleList(
            _Layer(width, heads, config.intermediate_size, eps) for _ in range(config.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(width, eps=eps)


class _Belief(nn.Module):
    """Pixels to a query, the nearest codes, and their mixture by the softmax of the squared distances."""

    def __init__(self, config: PaCoFRConfig) -> None:
        super().__init__()
        self.candidates, self.temperature = config.candidates, config.belief_temperature
        self.expand = nn.Linear(config.patch_pixels, config.belief_size)
        self.query = nn.Linear(config.belief_size, config.code_dim)
        self.codebook = nn.ParameterDict({"weight": torch.zeros(config.codebook_size, config.code_dim)})

    def forward(self, patches: Tensor) -> Tensor:
        queries = self.query(functional.gelu(self.expand(patches))).float()
        codes = self.codebook["weight"]
        with torch.no_grad():
            distances = torch.addmm(codes.square().sum(1), queries, codes.T, alpha=-2.0)
            nearest = distances.topk(self.candidates, largest=False).indices
        candidates = codes[nearest]
        weights = (-(queries[:, None] - candidates).square().sum(-1) / self.temperature).softmax(-1)
        return (weights[..., None] * candidates).sum(1)


class PlainMaskedAutoencoder(nn.Module):
    """The model.

    Args:
        config: with codes ``"none"`` or ``"belief"``.
        ratio: share of the patches that is masked.
    """

    def __init__(self, config: PaCoFRConfig, ratio: float) -> None:
        super().__init__()
        self.config = config
        self.seen = config.num_patches - round(ratio * config.num_patches)
        width, eps = config.decoder_size, config.layer_norm_eps
        self.encoder = _Encoder(config)
        self.belief = _Belief(config) if config.codes == "belief" else None
        self.mask_token = nn.Embedding(1, width)
        self.token = nn.Linear(config.code_dim, width) if config.codes == "belief" else None
        self.to_decoder = nn.Linear(config.hidden_size, width)
        self.decoder_positions = _Positions(config.grid, width)
        self.decoder_layers = nn.ModuleList(
            _Layer(width, config.decoder_heads, 4 * width, eps) for _ in range(config.decoder_layers)
        )
        self.decoder_norm = nn.LayerNorm(width, eps=eps)
        self.to_pixels = nn.Linear(width, config.patch_pixels)

    def forward(self, images: Tensor, masked: Tensor) -> Tensor:
        """The loss: mean square error of the masked patches, each less its mean, over its spread.

        Args:
            images: float32 (B, C, S, S).
            masked: bool (B, N), as many of each picture. Noise is drawn and sorted as usual; the mask is added to it,
                so that all contenders mask the same patches.
        """
        config = self.config
        batch, channels = images.shape[:2]
        rows, columns = config.grid
        size = config.patch_size
        cut = images.view(batch, channels, rows, size, columns, size)
        patches = cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, -1)
        order = (torch.rand(masked.shape, device=images.device) + masked).argsort(1)
        shuffled = patches.gather(1, order.unsqueeze(-1).expand_as(patches))
        visible, hidden = shuffled.tensor_split([self.seen], 1)

        states = self.encoder.embedding["projection"](visible) + self.encoder.positions()[order[:, : self.seen]]
        for layer in self.encoder.layers:
            states = layer(states)
        decoded = self.to_decoder(self.encoder.norm(states))

        variance, mean = torch.var_mean(hidden, dim=-1, keepdim=True)
        targets = (hidden - mean) * (variance + FLAT).rsqrt()
        standing = self.mask_token.weight.to(decoded.dtype).expand(batch, targets.shape[1], -1)
        if self.belief is not None and self.token is not None:
            standing = standing + self.token(self.belief(targets.flatten(0, 1))).view(batch, -1, decoded.shape[-1])
        decoded = torch.cat([decoded, standing], 1) + self.decoder_positions()[order]
        for layer in self.decoder_layers:
            decoded = layer(decoded)
        predicted = self.to_pixels(self.decoder_norm(decoded[:, self.seen :]))
        return (predicted.float() - targets).square().mean()
