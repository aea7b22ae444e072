"""Pre-training PaCo-FR: masked views of faces, endlessly, and what a validation says of them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from gptface.data.batches import FaceBatch, Faces, InOrder, Needs, held_out_faces
from gptface.data.views import View, Views
from gptface.errors import InputError
from gptface.faces.token_regions import token_regions
from gptface.files import atomic_directory
from gptface.models.flops import transformer_flops
from gptface.objectives import layout_cells, normalised_patches
from gptface.systems.pacofr.configuration import Configuration, PaCoFRSection
from gptface.systems.pacofr.configuration_model import PaCoFRConfig
from gptface.systems.pacofr.model import PaCoFR
from gptface.systems.pacofr.objective import MaskedFaces, PaCoFRObjective, cells_a_side
from gptface.training.declaration import StageContext
from gptface.training.optimization import kernels
from gptface.training.stage import Moment, Phase, Stage

__all__ = ["PaCoFRStage", "step_flops"]

# Faces whose patches the codes start from: at 144 patches each, some 70,000.
FIRST_FACES = 512

# Between the seeds of a face's views.
VIEW_SEED = 0x9E3779B9


class PaCoFRStage(Stage):
    """The stage; its result is ``model/`` in the run's folder, with the encoder alone in ``model/encoder/``."""

    name = "pacofr"
    result = "model"
    uneven = True  # pairs of components' patches, and with a range of ratios masked patches too

    def __init__(self, context: StageContext) -> None:
        configuration: Configuration = context.configuration
        output, accelerator, verbose = context.output, context.accelerator, context.verbose
        self.section = section = configuration.pacofr
        self.device = accelerator.device
        self.config = config = model_config(section)
        data = configuration.data
        if data.image_size < config.image_size:
            raise InputError(
                f"data.image_size: {data.image_size} pixels, but the model's pictures have {config.image_size}, and "
                f"enlarged ones have nothing to learn from; allowed: {config.image_size} or more"
            )
        check_ratio(section, config)
        if section.losses.alignment and config.codes != "none" and config.patch_size % 2:
            raise InputError(
                f"pacofr.losses.alignment: must be 0 for patches of {config.patch_size} pixels; allowed: an even number"
            )
        faces = Faces(data, "train", output, accelerator, verbose=verbose)
        torch.manual_seed(section.seed)
        self.model = PaCoFR(config)
        self.model.train()
        self.processes = accelerator.num_processes
        stepped = section.batch_size * section.accumulation * self.processes
        self.objective = PaCoFRObjective(self.model, section, len(faces) / stepped)
        model = self.model
        hidden = kernels(model.encoder.layers, model.decoder_layers)
        if config.stem == "convolution":
            hidden += kernels(model.encoder.embedding)[1:]  # the first sees pixels: no hidden layer
        self.phases = [Phase("pacofr", self.objective, matrices=hidden)]
        self.flops_per_sample = step_flops(config, section) * (2 if section.losses.components else 1)
        size, channels = config.image_size, config.channels
        several = 2 if section.losses.components else 1
        self._views = [
            Views(section.views, size, seed=section.seed + number * VIEW_SEED, channels=channels)
            for number in range(several)
        ]
        losses = section.losses
        self._tells_layout = losses.layout > 0
        regions = section.masks.regions or losses.relation > 0 or losses.layout > 0 or losses.components > 0
        self._needs = needs = Needs(
            raw_images=True,
            region_maps=regions,
            without_regions="pacofr.masks.regions and pacofr.losses.relation, layout and components: must be off",
        )
        self.batches = faces.batches(needs, self._masked, batch_size=section.batch_size, seed=section.seed)
        self._start(faces, context.resuming)
        self.held_out: InOrder[MaskedFaces] | None = None
        held_out = held_out_faces(data, output, accelerator, verbose=verbose)
        if held_out is not None:
            self.held_out = held_out.in_order(needs, self._plain, batch_size=section.batch_size)

    def _masked(self, batch: FaceBatch) -> MaskedFaces:
        return self._prepared(batch, [views(batch) for views in self._views])

    def _plain(self, batch: FaceBatch) -> MaskedFaces:
        return self._prepared(batch, [self._views[0].plain(batch)])

    def _prepared(self, batch: FaceBatch, views: list[View]) -> MaskedFaces:
        regions = cells = None
        maps = [view.region_maps for view in views if view.region_maps is not None]
        if maps:
            together = torch.cat(maps)
            regions = token_regions(together, self.config.grid, boundary=True)
            if self._tells_layout:
                cells = layout_cells(together, self.config.grid, cells_a_side(self.config))
        # A second view is masked by itself.
        sample_ids = [batch.sample_ids ^ (number << 62) for number in range(len(views))]
        return MaskedFaces(torch.cat([view.images for view in views]), torch.cat(sample_ids), regions, cells)

    def _start(self, faces: Faces, resuming: bool) -> None:
        """The codes at k-means of the first faces' patches: dealt to the processes, and clustered together."""
        if self.model.belief is None or resuming:
            return
        share = max(1, min(FIRST_FACES, len(faces)) // self.processes)
        images = next(faces.batches(self._needs, self._masked, batch_size=share, seed=self.section.seed)).images
        patches = self.model.encoder.cut(images).flatten(0, 1)
        self.model.belief.start(normalised_patches(patches), self.section.seed)

    def counts(self, batch: MaskedFaces, moment: Moment) -> Tensor:
        return self.objective.counts(batch, moment)

    def compilable(self) -> list[nn.Module]:
        return [*self.model.encoder.layers, *self.model.decoder_layers]

    def save(self, output: Path) -> None:
        with atomic_directory(output / self.result) as temporary:
            self.model.save_pretrained(temporary)
            self.model.encoder.save_pretrained(temporary / "encoder")

    def validate(self) -> dict[str, float]:
        """The losses of held-out faces as they are, under masks that are the same every time; means over batches."""
        if self.held_out is None:
            return {}
        sums: dict[str, list[float]] = {}
        with torch.random.fork_rng():
            torch.manual_seed(self.section.seed)  # codes drawn at random are the same every time too
            for number, faces in enumerate(self.held_out):
                _, parts = self.objective(faces, Moment(step=0, micro_step=number, share=0.0))
                weight = len(faces.images)
                for name, value in parts.items():
                    total, weights = sums.get(name, (0.0, 0.0))
                    sums[name] = [total + float(value) * weight, weights + weight]
        return {name: total / weights for name, (total, weights) in sums.items()}


def model_config(section: PaCoFRSection) -> PaCoFRConfig:
    """The preset with what the section changes.

    Raises:
        InputError: an unknown field, or values that do not go together.
    """
    try:
        return {"tiny": PaCoFRConfig.tiny, "small": PaCoFRConfig.small, "base": PaCoFRConfig.base}[section.preset](
            **section.model
        )
    except InputError as error:
        raise InputError(f"pacofr.model: {error}") from error


def check_ratio(section: PaCoFRSection, config: PaCoFRConfig) -> None:
    """Raise ``InputError`` unless every picture has a masked patch and a visible one."""
    ratio, patches = section.masks.ratio, config.num_patches
    for share in ratio if isinstance(ratio, tuple) else (ratio,):
        if not 0 < round(share * patches) < patches:
            raise InputError(
                f"pacofr.masks.ratio: {share:g} of the model's {patches} patches are {round(share * patches)}; "
                f"allowed: 1 to {patches - 1} of them"
            )


def step_flops(config: PaCoFRConfig, section: PaCoFRSection) -> float:
    """Operations of a training step a view: layers, embeddings, beliefs, lookup and alignment, forward and backward."""
    ratio = section.masks.ratio
    share = sum(ratio) / 2 if isinstance(ratio, tuple) else ratio
    patches, masked = config.num_patches, round(share * config.num_patches)
    seen = patches if config.encodes == "all" else patches - masked
    width, small = config.hidden_size, config.decoder_size
    forward = transformer_flops(
        seen, layers=config.num_hidden_layers, width=width, intermediate_size=config.intermediate_size
    ) + transformer_flops(patches, layers=config.decoder_layers, width=small, intermediate_size=4 * small)
    forward += 2 * config.patch_pixels * ((patches - masked) * width + masked * small)
    if config.codes == "belief":
        forward += 2 * masked * config.belief_size * (config.patch_pixels + config.code_dim)
    once = 2 * masked * config.codebook_size * config.code_dim if config.codes == "belief" else 0  # the lookup
    if section.losses.alignment and config.codes != "none":
        forward += 2 * (patches - masked) * width * config.codebook_size
        windows = (2 * config.grid[0] - 1) ** 2
        once += 2 * windows * config.code_dim * (config.patch_pixels + config.codebook_size)
    return 3.0 * forward + once
