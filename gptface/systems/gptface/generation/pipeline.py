"""``FaceGenerator``: a trained system put to use. Captions and photos in, pictures and captions out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gptface.data.inputs import as_photos, seed_list, strings
from gptface.data.pixels import tensor_to_images
from gptface.errors import InputError
from gptface.faces.areas import Area
from gptface.faces.occluders import OCCLUDER_AREA
from gptface.faces.templates import TEMPLATES, FaceTemplate
from gptface.systems.gptface.generation.autoregressive import AutoregressiveSettings, decode_image
from gptface.systems.gptface.generation.captioning import caption_codes
from gptface.systems.gptface.generation.codec import SystemCodec
from gptface.systems.gptface.generation.denoiser import JointState
from gptface.systems.gptface.generation.drawing import Draw, best_of_seeds, draw_codes
from gptface.systems.gptface.generation.editing import Frame
from gptface.systems.gptface.generation.ranking import CANDIDATES, wish_verdict
from gptface.systems.gptface.generation.refill import EditRequest, refill
from gptface.systems.gptface.generation.results import CaptionResult, EditResult, GenerationResult, stacked_history
from gptface.systems.gptface.generation.sampler import Decoded, DecodingSettings
from gptface.systems.gptface.generation.where import Where
from gptface.systems.gptface.generation.wishes import (
    DescribeWish,
    attribute_wish,
    expression_wish,
    plain_caption,
    seen_facts,
)
from gptface.systems.gptface.system import FaceSystem

__all__ = ["FaceGenerator"]


class FaceGenerator:
    """Generation, editing and captioning with a :class:`~gptface.systems.gptface.system.FaceSystem`.

    Pictures may be given one by one or as a sequence, each a file, a Pillow image, an array ``(H, W, 3)`` or ``(H, W)``
    or a tensor ``(3, H, W)``, uint8 or floats in [0, 1] (:mod:`~gptface.data.inputs` has all
    kinds); of any size. The system sees the largest centred square (or the window asked for), scaled to
    its own image size; an edit is resampled back and only the pixels of the mask are replaced. What a sample becomes
    depends on its own seed and inputs, not on the batch. Captions beyond the model's text length are cut off.

    Args:
        system: a trained system, or one's parts put together.
        settings: decoding where a call brings none of its own.
        describe: words the wish where an edit names an attribute or expression and gives no caption, such as
            :func:`gptface.data.procedural.wish_caption`; see
            :data:`~gptface.systems.gptface.generation.wishes.DescribeWish`.
        template: where things are in an aligned face, used where there is neither a region map nor a parser: a name of
            :data:`~gptface.faces.templates.TEMPLATES` or a :class:`~gptface.faces.templates.FaceTemplate`.
    """

    def __init__(
        self,
        system: FaceSystem,
        *,
        settings: DecodingSettings | None = None,
        describe: DescribeWish = plain_caption,
        template: str | FaceTemplate = "portrait",
    ) -> None:
        if isinstance(template, str):
            if template not in TEMPLATES:
                raise InputError(f"template must be one of {', '.join(TEMPLATES)}, got {template!r}")
            template = TEMPLATES[template]
        self.system = system.eval()
        self.settings = settings or DecodingSettings()
        self.describe = describe
        self.template = template
        self.codec = SystemCodec(self.system)

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens of a picture, ``(h, w)``."""
        return self.codec.grid

    # --- captions → faces

    def generate(
        self,
        captions: str | Sequence[str],
        seeds: int | Sequence[int] = 0,
        *,
        settings: DecodingSettings | None = None,
        method: Literal["masked", "autoregressive"] = "masked",
        autoregressive: AutoregressiveSettings | None = None,
        negative_captions: str | Sequence[str] | None = None,
        best_of: int = 1,
        keep_history: bool = False,
    ) -> GenerationResult:
        """Make faces for captions.

        Args:
            captions: one or several; an empty one asks for any face.
            seeds: one a caption, or one integer s for s, s + 1, …
            settings: of masked decoding.
            method: ``"masked"`` (iterative, guided) or ``"autoregressive"`` (token by token in raster order).
            autoregressive: settings of that method.
            negative_captions: what to move away from, the other branch of classifier-free guidance.
            best_of: candidates a caption, of which the one that matches best by the matching head is kept.
            keep_history: keep the tokens after every step (masked decoding only).
        """
        captions = strings(captions, 1 if isinstance(captions, str) else len(captions), "captions")
        if not captions:
            raise InputError("captions: at least one is needed (it may be empty)")
        own_seeds = seed_list(seeds, len(captions))
        height, width = self.grid
        blank = torch.full((len(captions), height * width), self.system.model.vocabulary.image_size)
        state = self.codec.state(captions, blank.to(self.codec.device))
        if method == "masked":
            draw = Draw(settings or self.settings, own_seeds, negative_captions, best_of, keep_history)
            decoded = draw_codes(self.codec, state, torch.ones_like(state.image_codes, dtype=torch.bool), draw)
        elif method == "autoregressive":

            def draw_in_order(seeds: Sequence[int]) -> Decoded:
                codes = decode_image(
                    self.system.model, state.text_ids, state.text_lengths, height * width, seeds, autoregressive
                )
                done = JointState(state.text_ids, state.text_lengths, codes)
                return Decoded(done, self.codec.match(done))

            decoded = best_of_seeds(draw_in_order, own_seeds, best_of)
        else:
            raise InputError(f"method must be masked or autoregressive, got {method!r}")
        codes = decoded.state.image_codes
        return GenerationResult(
            images=tensor_to_images(self.codec.pictures(codes)),
            captions=captions,
            seeds=own_seeds,
            match=decoded.match_log_odds.cpu().numpy(),
            codes=codes.cpu().numpy(),
            history=stacked_history(decoded.history),
        )

    # --- edits

    def edit(
        self,
        images: Any,
        captions: str | Sequence[str] | None = None,
        *,
        masks: Any = None,
        regions: str | Sequence[str] | Area | None = None,
        attributes: str | Sequence[str] | None = None,
        expressions: str | Sequence[str] | None = None,
        region_maps: Any = None,
        negative_captions: str | Sequence[str] | None = None,
        seeds: int | Sequence[int] = 0,
        settings: DecodingSettings | None = None,
        best_of: int | None = None,
        hide: bool = True,
        dilation: int = 0,
        feather_width: int | None = None,
        windows: Sequence[tuple[int, int, int]] | None = None,
        keep_history: bool = False,
    ) -> EditResult:
        """Change a part of photos as a caption wishes; everything else stays, bit for bit.

        What may change is the first of these that is given: ``masks``, ``regions``, the area that shows ``attributes``,
        the area that shows ``expressions``. Areas are found in ``region_maps``, by the system's parser, or in the
        template of an aligned face.

        Args:
            images: one or several pictures.
            captions: the wishes; by default each photo's own description (by the parser, if the system has one) with
                the attribute or expression changed.
            masks: as large as their pictures, see :func:`~gptface.data.inputs.as_mask`.
            regions: names of regions or zones, or an area of your own, for all pictures.
            attributes, expressions: one of the two; one name for all pictures or one each. ``"no NAME"`` takes an
                attribute away.
            region_maps: label images, see :func:`~gptface.data.inputs.as_labels`.
            negative_captions: what to move away from, the other branch of classifier-free guidance.
            seeds: one a picture, or one integer s for s, s + 1, …
            settings, keep_history: as in :meth:`generate`.
            best_of: candidates a photo, of which the best is kept: by the system's parser, where an attribute or an
                expression is named that it knows, else by the matching head. By default
                :data:`~gptface.systems.gptface.generation.ranking.CANDIDATES` in the first case, else 1. A name counts
                even where captions or masks are given beside it, and for all photos or none: one that the parser does
                not know leaves all to the matching head.
            hide: fill the masked pixels from their surroundings before the tokens are computed, so that the codes
                around the mask, whose receptive fields reach into it, know nothing of what is removed.
            dilation: renew this many rings of tokens around the mask as well.
            feather_width: pixels over which the edit fades in, inside the mask; by default 2 % of the window.
            windows: ``(left, top, side)`` of the square to work on, one a picture.

        Raises:
            InputError: sizes differ, a name is unknown, nothing says where or what to edit, or nothing is found there.
        """
        photos = as_photos(images)
        frames = self._frames(photos, windows)
        where = Where(masks, regions, attributes, expressions, region_maps)
        found, sources = where.find(photos, frames, self.system.parser, self.template)
        wishes = self._wishes(photos, frames, where) if captions is None else strings(captions, len(photos), "captions")
        verdict = wish_verdict(self.system.parser, where, len(photos))
        if best_of is None:
            best_of = 1 if verdict is None else CANDIDATES
        draw = Draw(settings or self.settings, seeds, negative_captions, best_of, keep_history)
        request = EditRequest(photos, frames, found, sources, wishes, draw, hide, dilation, feather_width, verdict)
        return refill(self.codec, request)

    def inpaint(self, images: Any, masks: Any, captions: str | Sequence[str] = "", **options: Any) -> EditResult:
        """Fill the masked parts of photos, by what is around them and, where given, by a caption.

        What is under the mask is never looked at, and no feathering brings it back. Other ``options`` as in
        :meth:`edit`.
        """
        return self.edit(images, captions, masks=masks, hide=True, feather_width=0, **options)

    def unmask(self, images: Any, masks: Any = None, captions: str | Sequence[str] = "", **options: Any) -> EditResult:
        """Remove what covers a face (a medical mask, sunglasses, a hand) and show what the face could be.

        Args:
            masks: where the occluder is; by default what ``region_maps`` or the parser call ``"occluder"``.
            options: others of :meth:`edit`.

        Raises:
            InputError: no occluder is found; else as in :meth:`edit`.
        """
        return self.edit(images, captions, masks=masks, regions=OCCLUDER_AREA, hide=True, feather_width=0, **options)

    # --- faces → captions

    def caption(
        self,
        images: Any,
        *,
        method: Literal["autoregressive", "masked"] = "autoregressive",
        candidates: int = 1,
        max_length: int | None = None,
        seeds: int | Sequence[int] = 0,
        autoregressive: AutoregressiveSettings | None = None,
        settings: DecodingSettings | None = None,
        windows: Sequence[tuple[int, int, int]] | None = None,
    ) -> CaptionResult:
        """Describe faces.

        Args:
            images: one or several pictures.
            method: ``"autoregressive"``, or ``"masked"``: captions of a quarter, half and three quarters of
                ``max_length`` are filled in by the same loop that fills images.
            candidates: captions drawn a picture (and length); the matching head chooses. One candidate is the
                likeliest word at every place; more are drawn at the settings' temperature.
            max_length: most word pieces; by default what the model has room for.
            autoregressive, settings: of the two methods.
        """
        photos = as_photos(images)
        return caption_codes(
            self.codec,
            self._codes(photos, windows),
            seed_list(seeds, len(photos)),
            method=method,
            candidates=candidates,
            max_length=max_length,
            autoregressive=autoregressive,
            settings=settings or self.settings,
        )

    def match(
        self, images: Any, captions: str | Sequence[str], windows: Sequence[tuple[int, int, int]] | None = None
    ) -> np.ndarray:
        """``(B,)`` float32: log-odds that a picture and its caption belong together, by the matching head."""
        photos = as_photos(images)
        state = self.codec.state(strings(captions, len(photos), "captions"), self._codes(photos, windows))
        return self.codec.match(state).cpu().numpy()

    def render_history(self, history: np.ndarray) -> np.ndarray:
        """Pictures ``(steps + 1, B, H, W, 3)`` uint8 of a result's history; patches still unknown are grey."""
        tokens = torch.as_tensor(history, device=self.codec.device)
        unknown = tokens == self.system.model.vocabulary.image_size
        pictures = self.codec.pictures(tokens.masked_fill(unknown, 0).flatten(0, 1))
        side = self.codec.image_size
        grey = unknown.flatten(0, 1).view(-1, 1, *self.grid).float()
        pictures = pictures.masked_fill(functional.interpolate(grey, (side, side)) > 0, 0.0)
        return tensor_to_images(pictures).reshape(*history.shape[:2], side, side, 3)

    # --- pieces

    def _frames(self, photos: list[np.ndarray], windows: Sequence[tuple[int, int, int]] | None) -> list[Frame]:
        if windows is not None and len(windows) != len(photos):
            raise InputError(f"windows must hold one window for each of {len(photos)} images, got {len(windows)}")
        chosen: list[tuple[int, int, int] | None] = list(windows) if windows else [None] * len(photos)
        return [Frame.of(photo, self.codec.image_size, own) for photo, own in zip(photos, chosen, strict=True)]

    def _codes(self, photos: list[np.ndarray], windows: Sequence[tuple[int, int, int]] | None) -> Tensor:
        frames = self._frames(photos, windows)
        return self.codec.encode(torch.stack([f.to_model(photo) for f, photo in zip(frames, photos, strict=True)]))

    def _wishes(self, photos: list[np.ndarray], frames: list[Frame], where: Where) -> list[str]:
        """A caption for each photo with its attribute, else its expression, as wished."""
        named = where.attributes if where.attributes is not None else where.expressions
        if named is None:
            raise InputError("captions: an edit needs a wish in words, or an attribute or an expression")
        wishes = []
        for photo, frame, name in zip(photos, frames, strings(named, len(photos), "attributes"), strict=True):
            seen: dict[str, int] = {}
            expression: str | None = None
            if self.system.parser is not None:
                seen, expression = seen_facts(self.system.parser, frame.to_model(photo))
            if where.attributes is not None:
                wishes.append(self.describe(*attribute_wish(name, seen, expression)))
            else:
                wishes.append(self.describe(*expression_wish(name, seen)))
        return wishes
