# %% [markdown]
# # Edit a face
#
# With the small system inside the package: it needs no training, no download and no GPU. It knows drawn faces of 64²
# pixels and nothing else, so a drawn face is what is edited here.

# %%
import torch
from PIL import Image

from gptface.data.procedural import ProceduralFaces
from gptface.systems.gptface.bundled import bundled_system
from gptface.systems.gptface.generation import FaceGenerator

torch.set_num_threads(1)
generator = FaceGenerator(bundled_system())
face = ProceduralFaces(seed=11, size=64)[8]  # or a photo: (H, W, 3) uint8
print(face.caption)

# %% [markdown]
# ## A wish
#
# The attribute chooses the part of the face that shows it. The words of the wish are made of what the parser sees;
# they may be given too.

# %%
blond = generator.edit(face.image, attributes="Blond_Hair", seeds=1)
hat = generator.edit(face.image, attributes="Wearing_Hat", seeds=1)
bare = generator.edit(face.image, attributes="no Eyeglasses", seeds=1)


def side_by_side(*pictures):
    """Pictures in a row, three times as large."""
    row = Image.new("RGB", (200 * len(pictures), 192), "white")
    for place, picture in enumerate(pictures):
        row.paste(Image.fromarray(picture).resize((192, 192), Image.Resampling.NEAREST), (200 * place, 0))
    return row


side_by_side(face.image, blond.images[0], hat.images[0], bare.images[0])

# %% [markdown]
# ## What may change
#
# Pixels outside the mask stay what they are, to the last bit.

# %%
mask = blond.masks[0]
changed = (blond.images[0] != face.image).any(-1)
print("pixels that may change:", int(mask.sum()), "of", mask.size)
print("changed outside of them:", int((changed & ~mask).sum()))

# %% [markdown]
# ## Several at once
#
# A seed a picture; the same seed makes the same picture, in any batch. What is not told apart by words differs.

# %%
three = generator.edit([face.image] * 3, attributes="Blond_Hair", seeds=[1, 2, 3])
side_by_side(*three.images)

# %% [markdown]
# ## What to believe
#
# Hair, hats and glasses mostly change as asked. New eyes, brows and mouths are smears: the transformer has seen too
# little. How often which wish comes true was counted: [the card of the bundled system](../model-cards.md). The same
# on the command line is `gptface edit`; what works for photos needs [training on photos](../systems/gptface.md).
