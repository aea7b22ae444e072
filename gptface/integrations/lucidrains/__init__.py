"""vector-quantize-pytorch's quantizers: the same calls, the same state dictionaries, on ``gptface.ops``.

Change the import, keep the rest::

    from gptface.integrations.lucidrains import GroupedResidualVQ, ResidualVQ, VectorQuantize

Indices, values, losses, gradients and updated codebooks are those of release 1.32, up to rounding in near ties; random
choices (k-means' first rows, replaced codes, dropped stages) are this package's own, deterministic by seed. Meant
differences, each where the original breaks or contradicts itself:

- with ``use_cosine_sim`` and a mask, the loss compares codes and vectors both of unit length, as without a mask;
- −1, which stands at padding, decodes to zeros, and codes of image maps decode to image maps;
- the estimator's gradient reaches ``project_in`` also where the input itself needs none;
- with ``diveq`` and in evaluation, ``forward`` returns the codes themselves, without noise: what the indices decode to;
- ``freeze_codebook`` freezes a shared codebook, and one under beam search, as any other;
- k-means waits for the first batch in training mode;
- ``ResidualVQ(accept_image_fmap=True)`` and ``ResidualVQ()(x, indices=…)`` work;
- under beam search every stage learns, not the first alone;
- the gradient of the loss against given codes is that of the codebook which the loss has seen.
"""

from __future__ import annotations

from gptface.integrations.lucidrains.grouped import GroupedResidualVQ
from gptface.integrations.lucidrains.losses import LossBreakdown
from gptface.integrations.lucidrains.residual import ResidualVQ
from gptface.integrations.lucidrains.vector_quantize import VectorQuantize

__all__ = ["GroupedResidualVQ", "LossBreakdown", "ResidualVQ", "VectorQuantize"]
