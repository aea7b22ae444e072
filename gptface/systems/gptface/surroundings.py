"""What lies around an image token, told to it before the first layer: a convolution over the token grid.

Most of what a hidden token will be follows from its neighbours. Attention has to find out first which slots those are,
by positions it learns; a convolution knows, so that layers spend their training on what is further away. It has token
embeddings of its own (r numbers a token, behind the transformer's C and the towers' r), so that it costs little, and a
gradient to every soft token.

    patch     the embeddings of 5×5 tokens (25·r), linear, GELU (M), linear (C), added to the token's slot

Rows that predict the picture token by token are told nothing: they would see what comes next.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from gptface.systems.gptface.configuration_language import FaceLanguageConfig
from gptface.systems.gptface.sequence import Regime

__all__ = ["Surroundings"]

# Side of the square of tokens that is looked at.
REACH = 5


class Surroundings(nn.Module):
    """The convolution beside a transformer.

    Args:
        config: of the transformer. M is its ``surroundings_size``, r its ``surroundings_rank``, C its ``hidden_size``.
    """

    def __init__(self, config: FaceLanguageConfig) -> None:
        super().__init__()
        self.scale = config.initializer_range  # of what is told: that of the transformer's token embeddings
        self.grid = (int(config.image_grid[0]), int(config.image_grid[1]))
        self.token_embeddings = nn.Embedding(config.vocabulary.size, config.surroundings_rank)
        self.around = nn.Conv2d(config.surroundings_rank, config.surroundings_size, REACH, padding=REACH // 2)
        self.tell = nn.Linear(config.surroundings_size, config.hidden_size, bias=False)

    def forward(self, embeddings: Tensor, regimes: Tensor) -> Tensor:
        """What is added to image tokens: ``(B, N, C)``.

        Args:
            embeddings: ``(B, N, r)`` its token embeddings in raster order, at about unit size.
            regimes: ``(B,)``, see :class:`~gptface.systems.gptface.sequence.JointSequence`.
        """
        maps = embeddings.unflatten(1, self.grid).permute(0, 3, 1, 2)  # channels last in memory
        around = functional.gelu(self.around(maps)).permute(0, 2, 3, 1).flatten(1, 2)
        heard = self.scale * (regimes != int(Regime.TEXT_TO_IMAGE)).to(around.dtype)
        return self.tell(around * heard.view(-1, 1, 1))

    def flops_per_picture(self) -> int:
        """Floating-point operations of one picture, forward."""
        return 2 * self.grid[0] * self.grid[1] * (self.around.weight.numel() + self.tell.weight.numel())
