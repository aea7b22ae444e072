"""Training the image tokenizer: reconstruction, commitment; where asked for, a parser's features, a discriminator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.data.batches import FaceBatch, Faces, InOrder, Needs, held_out_faces
from gptface.data.pixels import images_to_tensor
from gptface.errors import InputError
from gptface.faces.regions import REGIONS
from gptface.files import atomic_directory
from gptface.models import FaceParser, FaceTokenizer, FaceTokenizerConfig, FaceTokenizerOutput
from gptface.models.discriminator import PatchDiscriminator
from gptface.models.principal_components import start_from_principal_components
from gptface.objectives import (
    adversarial_weight,
    discriminator_hinge_loss,
    feature_loss,
    generator_hinge_loss,
    psnr,
    reconstruction_counts,
    reconstruction_losses,
)
from gptface.systems.gptface.configuration import Configuration, TokenizerLossWeights, TokenizerSection
from gptface.training.declaration import StageContext
from gptface.training.optimization import kernels
from gptface.training.stage import Losses, Moment, Phase, Stage

__all__ = [
    "DiscriminatorObjective",
    "TokenizerObjective",
    "TokenizerStage",
    "WeightedImages",
    "region_importance",
]


@dataclass
class WeightedImages:
    """What the tokenizer learns from: images, and how much each pixel counts.

    Attributes:
        images: float32 (B, 3, H, W) in [−1, 1].
        importance: float32 (B, 1, H, W), or ``None`` where all pixels count alike.
    """

    images: Tensor
    importance: Tensor | None = None


def region_importance(region_maps: Tensor, weights: Tensor) -> Tensor:
    """float32 (B, 1, H, W): the weight of each pixel's region, or of a neighbour's where that is larger.

    The neighbours count because the edge of an eye or a lip is where it is told from the skin.

    Args:
        region_maps: uint8 (B, H, W), indices into ``REGIONS``.
        weights: float32 (regions,).
    """
    return functional.max_pool2d(weights[region_maps.long()].unsqueeze(1), 3, stride=1, padding=1)


def image_share(batch: WeightedImages, moment: Moment) -> Tensor | float:
    """What a mean over this pass's images counts for among the passes of a step: their number over the mean number."""
    return 1.0 if moment.counts is None else len(batch.images) / moment.counts[0]


class TokenizerObjective(nn.Module):
    """The generator's side: ``forward(batch, moment) -> (loss, parts)``.

    Discriminator and parser are only looked through: the one's weights belong to another phase, the other's to nobody.
    """

    def __init__(
        self,
        tokenizer: FaceTokenizer,
        weights: TokenizerLossWeights,
        discriminator: PatchDiscriminator | None = None,
        *,
        parser: FaceParser | None = None,
        decoder_alone: bool = False,
    ) -> None:
        super().__init__()
        self.decoder_alone = decoder_alone
        self.tokenizer = tokenizer
        self.weights = weights
        # In a tuple, so that they are not registered as parts of this module.
        self._seen_through = (discriminator, parser)

    def forward(self, batch: WeightedImages, moment: Moment) -> Losses:
        images, share = batch.images, image_share(batch, moment)
        out: Any = self._decoded(images) if self.decoder_alone else self.tokenizer(images)
        weights, reconstruction = self.weights, out.reconstruction
        parts = reconstruction_losses(
            reconstruction,
            images,
            gradient=weights.gradient,
            importance=batch.importance,
            counts=None if moment.counts is None else moment.counts[1:],
        )
        loss = parts.pop("total")
        discriminator, parser = self._seen_through
        if parser is not None:
            parts["features"] = weights.features * share * feature_loss(
                parser.features(reconstruction), parser.features(images)
            )
            loss = loss + parts["features"]
        if discriminator is not None and moment.share >= weights.adversarial_start:
            discriminator.requires_grad_(False)
            adversarial = share * generator_hinge_loss(discriminator(reconstruction))
            discriminator.requires_grad_(True)
            if self.training:
                balance = adversarial_weight(loss, adversarial, self.tokenizer.decoder.output.weight)
                parts["adversarial_weight"] = balance
                loss = loss + weights.adversarial * balance * adversarial
            parts["adversarial"] = adversarial
            moment.handover["reconstruction"] = reconstruction.detach()
        quantizer = share * out.quantizer_loss
        parts |= {"quantizer": quantizer, "perplexity": out.perplexity, "usage": out.usage}
        return loss + quantizer, parts

    def _decoded(self, images: Tensor) -> FaceTokenizerOutput:
        """Pictures from the codes that ``images`` have: nothing of encoder and codebook learns."""
        tokenizer = self.tokenizer
        codes = tokenizer.encode(images)
        counts = torch.bincount(codes.flatten(), minlength=tokenizer.config.codebook_size)
        shares = counts / codes.numel()
        return FaceTokenizerOutput(
            reconstruction=tokenizer.decode_latents(tokenizer.quantizer.lookup(codes)),
            codes=codes,
            quantizer_loss=images.new_zeros(()),
            perplexity=torch.exp(-(shares * shares.clamp_min(1e-12).log()).sum()),
            usage=(counts > 0).float().mean(),
        )


class DiscriminatorObjective(nn.Module):
    """The discriminator's side, on the reconstruction that the generator's phase has just made."""

    def __init__(self, discriminator: PatchDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, batch: WeightedImages, moment: Moment) -> Losses:
        real = self.discriminator(batch.images)
        fake = self.discriminator(moment.handover["reconstruction"])
        loss = image_share(batch, moment) * discriminator_hinge_loss(real, fake)
        return loss, {"discriminator": loss}


class TokenizerStage(Stage):
    """The image tokenizer; the result is ``tokenizer/`` in the run's folder."""

    name = "tokenizer"
    result = "tokenizer"
    section: TokenizerSection

    def __init__(self, context: StageContext) -> None:
        configuration: Configuration = context.configuration
        output, accelerator, verbose = context.output, context.accelerator, context.verbose
        self.section = section = configuration.tokenizer
        data = configuration.data
        self.device = accelerator.device
        decoder_alone = "tokenizer" in context.inputs
        if decoder_alone:
            self.tokenizer = _with_fixed_codes(context.inputs["tokenizer"], configuration.tokenizer_config())
        else:
            self.tokenizer = FaceTokenizer(configuration.tokenizer_config())
        self.tokenizer.train()
        discriminator = None
        if section.losses.adversarial > 0:
            discriminator = PatchDiscriminator(section.losses.adversarial_channels)
        self.objective = TokenizerObjective(
            self.tokenizer,
            section.losses,
            discriminator,
            parser=_parser(context, section, configuration.data.image_size),
            decoder_alone=decoder_alone,
        )
        hidden = kernels(self.tokenizer.encoder, self.tokenizer.decoder)
        self.phases = [Phase("tokenizer", self.objective, matrices=hidden)]
        self.flops_per_sample = float(self.tokenizer.flops_per_image())
        if discriminator is not None:
            self.phases.append(
                Phase("discriminator", DiscriminatorObjective(discriminator), section.losses.adversarial_start)
            )
        self.importance: Tensor | None = None
        if regions := section.losses.regions:
            self.importance = torch.tensor([regions.get(name, 1.0) for name in REGIONS], device=self.device)
        # Regions weigh each image otherwise, and what is read as it comes may leave images out.
        self.uneven = self.importance is not None or not data.cache
        faces = Faces(data, "train", output, accelerator, verbose=verbose)
        takes = not decoder_alone and _takes_components(self.tokenizer.config)
        starts = takes and section.principal_components > 0 and faces.cache is not None
        if starts and self.tokenizer.config.local_codes:
            # They reconstruct as well as what training makes of them, and neighbours are more alike in them.
            self.tokenizer.encoder.requires_grad_(False)
            self.tokenizer.to_code.requires_grad_(False)
        if starts and not context.resuming:
            assert faces.cache is not None
            first = faces.cache.image_tensor[: section.principal_components]
            try:
                start_from_principal_components(self.tokenizer, images_to_tensor(first))
            except InputError as error:
                raise InputError(f"tokenizer.principal_components: {error}; 0 starts at random") from error
        needs = Needs(
            region_maps=self.importance is not None, without_regions="tokenizer.losses.regions: must be empty"
        )
        self.batches = faces.batches(needs, self._batch, batch_size=section.batch_size, seed=section.seed)
        self.held_out: InOrder[Tensor] | None = None
        held_out = held_out_faces(data, output, accelerator, verbose=verbose)
        if held_out is not None:
            self.held_out = held_out.in_order(Needs(), _images, batch_size=section.batch_size)

    def _batch(self, faces: FaceBatch) -> WeightedImages:
        if self.importance is None:
            return WeightedImages(_images(faces))
        assert faces.region_maps is not None
        return WeightedImages(_images(faces), region_importance(faces.region_maps, self.importance))

    def counts(self, batch: WeightedImages, moment: Moment) -> Tensor:
        """The images, then the pixels and neighbours as they weigh."""
        pixels = reconstruction_counts(batch.images, batch.importance)
        return torch.cat([torch.full((1,), float(len(batch.images)), device=self.device), pixels])

    def milestones(self) -> dict[str, float]:
        losses = self.section.losses
        return {"losses.adversarial_start": losses.adversarial_start} if losses.adversarial > 0 else {}

    def compilable(self) -> list[nn.Module]:
        return [self.tokenizer.encoder, self.tokenizer.decoder]

    def save(self, output: Path) -> None:
        with atomic_directory(output / self.result) as temporary:
            self.tokenizer.save_pretrained(temporary)

    def validate(self) -> dict[str, float]:
        """PSNR of the reconstructions, and how much of the codebook the held-out images use."""
        if self.held_out is None:
            return {}
        quality, errors = [], []
        counts = torch.zeros(self.tokenizer.config.codebook_size, dtype=torch.int64, device=self.device)
        for images in self.held_out:
            out = self.tokenizer(images)
            reconstruction = out.reconstruction.clamp(-1, 1)
            quality.append(psnr(reconstruction, images))
            errors.append((reconstruction - images).abs().flatten(1).mean(1))
            counts += torch.bincount(out.codes.flatten(), minlength=len(counts))
        shares = counts / counts.sum()
        perplexity = torch.exp(-(shares * shares.clamp_min(1e-12).log()).sum())
        return {
            "psnr": float(torch.cat(quality).mean()),
            "l1": float(torch.cat(errors).mean()),
            "codebook_usage": float((counts > 0).float().mean()),
            "codebook_perplexity": float(perplexity),
        }


def _parser(context: StageContext, section: TokenizerSection, image_size: int) -> FaceParser | None:
    """The parser whose features the loss is read from, where it is; nothing of it learns.

    Raises:
        InputError: one is needed and not given, or given and not needed, or of another size.
    """
    folder = context.inputs.get("parser")
    if (folder is not None) != (section.losses.features > 0):
        raise InputError(
            "tokenizer.losses.features: needs --parser DIR, which is not given"
            if folder is None
            else "--parser: nothing is read of it where tokenizer.losses.features is 0"
        )
    if folder is None:
        return None
    parser = FaceParser.from_pretrained(folder, dtype=torch.float32)
    if parser.config.image_size != image_size:
        raise InputError(f"--parser: it sees {parser.config.image_size} pixels, but data.image_size is {image_size}")
    return parser.eval().requires_grad_(False).to(context.accelerator.device)


def _takes_components(config: FaceTokenizerConfig) -> bool:
    """Whether a tokenizer can start from principal components: a random codebook would not lie where they put codes."""
    return config.linear_shortcut and config.kmeans_init


def _with_fixed_codes(folder: Path, config: FaceTokenizerConfig) -> FaceTokenizer:
    """The tokenizer in ``folder``, of which only what leads from codes to pictures is to learn.

    Raises:
        InputError: it is not the one that the configuration describes.
    """
    tokenizer = FaceTokenizer.from_pretrained(folder, dtype=torch.float32)  # it may have been saved in half precision
    for name in ("image_size", "stem_stride", "channels", "codebook_size", "code_dim", "local_codes"):
        given, described = getattr(tokenizer.config, name), getattr(config, name)
        if given != described:
            raise InputError(f"--tokenizer: its {name} is {given}, but the configuration describes {described}")
    for part in (tokenizer.encoder, tokenizer.to_code, tokenizer.quantizer):
        part.requires_grad_(False)
    return tokenizer


def _images(faces: FaceBatch) -> Tensor:
    assert faces.images is not None
    return faces.images
