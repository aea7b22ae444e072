# %% [markdown]
# # A VQ tokenizer
#
# Drawn faces, cut into patches of 8 × 8, become 64 codes each, and pictures again. What learns the codebook is
# `VectorQuantizer`; everything around it is plain PyTorch.

# %%
import numpy as np
import torch
from matplotlib import pyplot
from torch import nn

from gptface.data.procedural import ProceduralFaces
from gptface.ops import VectorQuantizer, vq_lookup

torch.set_num_threads(1)
_ = torch.manual_seed(0)

drawn = ProceduralFaces(seed=0, size=64, occluder_probability=0.0)
faces = torch.from_numpy(np.stack([drawn[number].image for number in range(160)]))
faces = faces.movedim(-1, 1).float() / 127.5 - 1  # (160, 3, 64, 64) from -1 to 1
train, held_out = faces[:144], faces[144:]

# %% [markdown]
# ## The model
#
# `VectorQuantizer` wants vectors last, whatever stands before them. It starts from k-means of the first batch, and
# moves codes that nobody uses onto vectors of the batch.

# %%
class Tokenizer(nn.Module):
    def __init__(self, codes=256, width=64, dim=16):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, width, 8, stride=8), nn.GELU(), nn.Conv2d(width, dim, 1))
        self.quantizer = VectorQuantizer(dim, codes, decay=0.95, revive_below=0.1)
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, 3 * 64, 1), nn.PixelShuffle(8)
        )

    def forward(self, images):
        out = self.quantizer(self.encoder(images).movedim(1, -1))
        return self.decoder(out.quantized.movedim(-1, 1)), out


tokenizer = Tokenizer()
optimizer = torch.optim.AdamW(tokenizer.parameters(), 3e-3)
errors, perplexities = [], []
for _ in range(300):
    images = train[torch.randint(len(train), (16,))]
    pictures, out = tokenizer(images)
    error = (pictures - images).abs().mean()
    (error + out.loss).backward()
    optimizer.step()
    optimizer.zero_grad()
    errors.append(float(error.detach()))
    perplexities.append(float(out.perplexity))

# %%
figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 2.6))
left.plot(errors)
left.set_title("L1 error", fontsize=10)
right.plot(perplexities)
right.set_title("perplexity of the codes in a batch, of 256", fontsize=10)
figure.tight_layout()
pyplot.show()

# %% [markdown]
# ## Faces that it has not seen
#
# Above the pictures, below what 64 codes of one byte make of each.

# %%
with torch.no_grad():
    pictures, out = tokenizer.eval()(held_out)
rows = torch.cat([torch.cat(list(part[:6]), 2) for part in (held_out, pictures)], 1)
pyplot.figure(figsize=(9, 3))
pyplot.imshow(((rows + 1) / 2).clamp(0, 1).movedim(0, -1))
pyplot.axis("off")
pyplot.show()
print("codes of a picture:", tuple(out.indices[0].shape), "· in use:", len(out.indices.unique()), "of 256")

# %% [markdown]
# ## The lookup alone
#
# Indices are those of float64 arithmetic, and no matrix of 200,000 × 4,096 distances is made.

# %%
vectors, codebook = torch.randn(200_000, 8), torch.randn(4096, 8)
found = vq_lookup(vectors, codebook).indices
some = torch.cdist(vectors[:500].double(), codebook.double()).argmin(1)
print("as float64 says:", bool((found[:500] == some).all()))

# %% [markdown]
# Residual and fixed codes, several codebooks, vector-quantize-pytorch's and taming's calls: [codebook
# lookup](../operators/vq-lookup.md). The tokenizer of the systems here: `gptface train tokenizer`.
