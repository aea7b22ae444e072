"""``FaceGenerator``: a trained system put to use. Captions and photos in, pictures and captions out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gptface.errors import InputError
from gptface.faces.areas import Area, region_area
from gptface.faces.attributes import attribute_area
from gptface.faces.expressions import expression_area
from gptface.faces.occluders import OCCLUDER_AREA
from gptface.faces.templates import TEMPLATES, FaceTemplate
from gptface.systems.gptface.generation.autoregressive import AutoregressiveSettings, decode_image
from gptface.systems.gptface.generation.captioning import caption_codes
from gptface.systems.gptface.generation.codec import SystemCodec
from gptface.systems.gptface.generation.denoiser import JointDenoiser, JointState
from gptface.systems.gptface.generation.editing import Frame, composite, even_out, to_uint8, token_mask
from gptface.systems.gptface.generation.inputs import as_mask, as_photos, one_each, seed_list, strings
from gptface.systems.gptface.generation.localisation import find_area
from gptface.systems.gptface.generation.results import CaptionResult, EditResult, GenerationResult
from gptface.systems.gptface.generation.sampler import Decoded, DecodingSettings, best_of_seeds, decode_masked
from gptface.systems.gptface.generation.wishes import (
    DescribeWish,
    attribute_wish,
    expression_wish,
    plain_caption,
    seen_facts,
)
from gptface.systems.gptface.system import FaceSystem

__all__ = ["FaceGenerator"]

# Feathering hides the seam of an edit inside its mask: this share of the window's side, in pixels.
FEATHER_SHARE = 0.02


class FaceGenerator:
    """Generation, editing and captioning with a :class:`~gptface.systems.gptface.system.FaceSystem`.

    Pictures may be given one by one or as a sequence, each a uint8 array ``(H, W, 3)`` or ``(H, W)``, a PIL image, or a
    tensor ``(3, H, W)``; of any size. The system sees the largest centred square (or the window asked for), scaled to
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
    def device(self) -> torch.device:
        return self.system.device

    @property
    def image_size(self) -> int:
        """Side of the pictures the system makes, in pixels."""
        return int(self.system.tokenizer.config.image_size)

    @property
    def grid(self) -> tuple[int, int]:
        height, width = self.system.tokenizer.config.grid
        return int(height), int(width)

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
        blank = torch.full((len(captions), height * width), self.system.model.vocabulary.image_size, device=self.device)
        state = self.codec.state(captions, blank)
        if method == "masked":
            unknown = torch.ones_like(blank, dtype=torch.bool)
            decoded = self._decode(state, unknown, own_seeds, settings, negative_captions, best_of, keep_history)
        elif method == "autoregressive":

            def draw(seeds: Sequence[int]) -> Decoded:
                codes = decode_image(
                    self.system.model, state.text_ids, state.text_lengths, blank.shape[1], seeds, autoregressive
                )
                done = JointState(state.text_ids, state.text_lengths, codes)
                return Decoded(done, self.codec.match(done))

            decoded = best_of_seeds(draw, own_seeds, best_of)
        else:
            raise InputError(f"method must be masked or autoregressive, got {method!r}")
        codes = decoded.state.image_codes
        return GenerationResult(
            images=to_uint8(self.codec.pictures(codes)),
            captions=captions,
            seeds=own_seeds,
            match=_numpy(decoded.match_log_odds),
            codes=_numpy(codes),
            history=_stack(decoded.history),
        )

    # --- edits

    def edit(
        self,
        images: Any,
        captions: str | Sequence[str] | None = None,
        *,
        masks: Any = None,
        regions: Sequence[str] | None = None,
        attributes: str | Sequence[str] | None = None,
        expressions: str | Sequence[str] | None = None,
        region_maps: Any = None,
        negative_captions: str | Sequence[str] | None = None,
        seeds: int | Sequence[int] = 0,
        settings: DecodingSettings | None = None,
        best_of: int = 1,
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
            masks: as large as their pictures, see :func:`~gptface.systems.gptface.generation.editing.as_mask`.
            regions: names of regions or zones, for all pictures.
            attributes, expressions: one for all pictures or one each; ``"no NAME"`` takes an attribute away.
            region_maps: ``(H, W)`` labels, indices into :data:`~gptface.faces.regions.REGIONS`.
            negative_captions: what to move away from, the other branch of classifier-free guidance.
            seeds: one a picture, or one integer s for s, s + 1, …
            settings, best_of, keep_history: as in :meth:`generate`.
            hide: fill the masked pixels from their surroundings before the tokens are computed, so that the codes
                around the mask, whose receptive fields reach into it, know nothing of what is removed.
            dilation: renew this many rings of tokens around the mask as well.
            feather_width: pixels over which the edit fades in, inside the mask; by default 2 % of the window.
            windows: ``(left, top, side)`` of the square to work on, one a picture.

        Raises:
            InputError: sizes differ, a name is unknown, nothing says where or what to edit, or nothing is found there.
        """
        photos = as_photos(images)
        areas: list[Area] | None = None
        if masks is None:
            if regions is not None:
                areas = [region_area([regions] if isinstance(regions, str) else regions)] * len(photos)
            elif attributes is not None:
                areas = [attribute_area(name) for name in strings(attributes, len(photos), "attributes")]
            elif expressions is not None:
                areas = [expression_area(name) for name in strings(expressions, len(photos), "expressions")]
            else:
                raise InputError("an edit needs to know where: give masks, regions, attributes or expressions")
        frames = self._frames(photos, windows)
        if captions is None:
            captions = self._wishes(photos, frames, attributes, expressions)
        where, sources = self._masks(photos, frames, masks, areas, region_maps)
        return self._refill(
            photos, frames, where, sources, captions, negative_captions, seeds, settings, best_of,
            hide=hide, dilation=dilation, feather_width=feather_width, keep_history=keep_history,
        )  # fmt: skip

    def inpaint(self, images: Any, masks: Any, captions: str | Sequence[str] = "", **options: Any) -> EditResult:
        """Fill the masked parts of photos, by what is around them and, where given, by a caption.

        What is under the mask is never looked at, and no feathering brings it back. ``options`` as in :meth:`edit`.
        """
        options = {"hide": True, "feather_width": 0, **options}
        return self.edit(images, captions, masks=masks, **options)

    def unmask(
        self,
        images: Any,
        masks: Any = None,
        captions: str | Sequence[str] = "",
        *,
        region_maps: Any = None,
        windows: Sequence[tuple[int, int, int]] | None = None,
        seeds: int | Sequence[int] = 0,
        settings: DecodingSettings | None = None,
        best_of: int = 1,
        dilation: int = 0,
        keep_history: bool = False,
    ) -> EditResult:
        """Remove what covers a face (a medical mask, sunglasses, a hand) and show what the face could be.

        Args:
            masks: where the occluder is; by default what ``region_maps`` or the parser call ``"occluder"``.

        Raises:
            InputError: no occluder is found. Other arguments as in :meth:`edit`.
        """
        photos = as_photos(images)
        frames = self._frames(photos, windows)
        areas = None if masks is not None else [OCCLUDER_AREA] * len(photos)
        where, sources = self._masks(photos, frames, masks, areas, region_maps)
        return self._refill(
            photos, frames, where, sources, captions, None, seeds, settings, best_of,
            hide=True, dilation=dilation, feather_width=0, keep_history=keep_history,
        )  # fmt: skip

    # --- faces → captions

    def caption(
        self,
        images: Any,
        *,
        method: Literal["autoregressive", "masked"] = "autoregressive",
        candidates: int = 1,
        max_length: int | None = None,
        lengths: Sequence[int] | None = None,
        seeds: int | Sequence[int] = 0,
        autoregressive: AutoregressiveSettings | None = None,
        settings: DecodingSettings | None = None,
        windows: Sequence[tuple[int, int, int]] | None = None,
    ) -> CaptionResult:
        """Describe faces.

        Args:
            images: one or several pictures.
            method: ``"autoregressive"``, or ``"masked"``: a caption of each of ``lengths`` tokens is filled in by the
                same loop that fills images.
            candidates: captions drawn a picture (and length); the matching head chooses. One candidate is the
                likeliest word at every place; more are drawn at the settings' temperature.
            max_length: most word pieces; by default what the model has room for.
            lengths: of the masked method; by default a quarter, half and three quarters of ``max_length``.
            autoregressive, settings: of the two methods.
        """
        photos = as_photos(images)
        frames = self._frames(photos, windows)
        codes = self.codec.encode(torch.stack([f.to_model(p) for f, p in zip(frames, photos, strict=True)]))
        return caption_codes(
            self.codec,
            codes,
            seed_list(seeds, len(photos)),
            method=method,
            candidates=candidates,
            max_length=max_length,
            lengths=lengths,
            autoregressive=autoregressive,
            settings=settings or self.settings,
        )

    def match(
        self, images: Any, captions: str | Sequence[str], windows: Sequence[tuple[int, int, int]] | None = None
    ) -> np.ndarray:
        """``(B,)`` float32: log-odds that a picture and its caption belong together, by the matching head."""
        photos = as_photos(images)
        frames = self._frames(photos, windows)
        codes = self.codec.encode(torch.stack([f.to_model(p) for f, p in zip(frames, photos, strict=True)]))
        return _numpy(self.codec.match(self.codec.state(strings(captions, len(photos), "captions"), codes)))

    def render_history(self, history: np.ndarray) -> np.ndarray:
        """Pictures ``(steps + 1, B, H, W, 3)`` uint8 of a result's history; patches still unknown are grey."""
        tokens = torch.as_tensor(history, device=self.device)
        unknown = tokens == self.system.model.vocabulary.image_size
        height, width = self.grid
        pictures = self.codec.pictures(tokens.masked_fill(unknown, 0).flatten(0, 1))
        side = self.image_size
        grey = unknown.flatten(0, 1).view(-1, 1, height, width).float()
        pictures = pictures.masked_fill(functional.interpolate(grey, (side, side)) > 0, 0.0)
        return to_uint8(pictures).reshape(*history.shape[:2], side, side, 3)

    # --- pieces

    def _refill(
        self,
        photos: list[np.ndarray],
        frames: list[Frame],
        masks: list[np.ndarray],
        sources: list[str],
        captions: str | Sequence[str],
        negative_captions: str | Sequence[str] | None,
        seeds: int | Sequence[int],
        settings: DecodingSettings | None,
        best_of: int,
        *,
        hide: bool,
        dilation: int,
        feather_width: int | None,
        keep_history: bool,
    ) -> EditResult:
        wishes = strings(captions, len(photos), "captions")
        own_seeds = seed_list(seeds, len(photos))
        holes: list[np.ndarray | None] = list(masks) if hide else [None] * len(photos)
        images = torch.stack([f.to_model(photo, hole) for f, photo, hole in zip(frames, photos, holes, strict=True)])
        pixels = torch.from_numpy(np.stack([f.mask_to_model(mask) for f, mask in zip(frames, masks, strict=True)]))
        unknown = token_mask(pixels, self.grid, dilation).to(self.device)
        codes = self.codec.encode(images)
        decoded = self._decode(
            self.codec.state(wishes, codes), unknown, own_seeds, settings, negative_captions, best_of, keep_history
        )
        made = decoded.state.image_codes
        pictures = even_out(self.codec.pictures(made).cpu(), images, unknown.cpu(), self.grid)
        edited = []
        for photo, picture, mask, frame in zip(photos, pictures, masks, frames, strict=True):
            width = round(FEATHER_SHARE * frame.side) if feather_width is None else feather_width
            edited.append(composite(photo, frame.to_photo(picture), mask, frame, width))
        return EditResult(
            images=edited,
            photos=photos,
            masks=masks,
            sources=sources,
            captions=wishes,
            seeds=own_seeds,
            match=_numpy(decoded.match_log_odds),
            token_masks=_numpy(unknown),
            codes=_numpy(made),
            history=_stack(decoded.history),
        )

    def _decode(
        self,
        state: JointState,
        unknown: Tensor,
        seeds: list[int],
        settings: DecodingSettings | None,
        negative_captions: str | Sequence[str] | None,
        best_of: int,
        keep_history: bool,
    ) -> Decoded:
        denoiser = JointDenoiser(self.system.model)
        negative = None
        if negative_captions is not None:
            negative = self.codec.state(strings(negative_captions, len(state), "negative_captions"), state.image_codes)

        def draw(seeds: Sequence[int]) -> Decoded:
            chosen = settings or self.settings
            return decode_masked(
                denoiser, state, unknown, seeds, chosen, unconditional=negative, keep_history=keep_history
            )

        return best_of_seeds(draw, seeds, best_of)

    def _wishes(
        self,
        photos: list[np.ndarray],
        frames: list[Frame],
        attributes: str | Sequence[str] | None,
        expressions: str | Sequence[str] | None,
    ) -> list[str]:
        """A caption for each photo with its attribute, else its expression, as wished."""
        named = attributes if attributes is not None else expressions
        if named is None:
            raise InputError("captions: an edit needs a wish in words, or an attribute or an expression")
        names = strings(named, len(photos), "attributes")
        wishes = []
        for photo, frame, name in zip(photos, frames, names, strict=True):
            seen: dict[str, int] = {}
            expression: str | None = None
            if self.system.parser is not None:
                seen, expression = seen_facts(self.system.parser, frame.to_model(photo))
            if attributes is not None:
                wishes.append(self.describe(*attribute_wish(name, seen, expression)))
            else:
                wishes.append(self.describe(*expression_wish(name, seen)))
        return wishes

    def _frames(self, photos: list[np.ndarray], windows: Sequence[tuple[int, int, int]] | None) -> list[Frame]:
        if windows is not None and len(windows) != len(photos):
            raise InputError(f"windows must hold one window for each of {len(photos)} images, got {len(windows)}")
        chosen: list[tuple[int, int, int] | None] = list(windows) if windows else [None] * len(photos)
        return [Frame.of(photo, self.image_size, own) for photo, own in zip(photos, chosen, strict=True)]

    def _masks(
        self, photos: list[np.ndarray], frames: list[Frame], masks: Any, areas: list[Area] | None, region_maps: Any
    ) -> tuple[list[np.ndarray], list[str]]:
        """Pixel masks at the photos' size, cut to the windows, and where each came from."""
        given = one_each(masks, len(photos), "masks")
        maps = one_each(region_maps, len(photos), "region_maps")
        found: list[np.ndarray] = []
        sources: list[str] = []
        for index, (photo, frame) in enumerate(zip(photos, frames, strict=True)):
            if given is not None:
                mask, source = as_mask(given[index], photo), "mask"
            else:
                assert areas is not None
                mask, source = find_area(
                    photo, frame, areas[index], None if maps is None else maps[index], self.system.parser, self.template
                )
            inside = frame.window_mask(mask)
            if not inside.any():
                raise InputError(
                    f"nothing of the mask lies inside the square the system works on (left {frame.left}, "
                    f"top {frame.top}, side {frame.side}); give another window"
                )
            found.append(inside)
            sources.append(source)
        return found, sources


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def _stack(history: list[Tensor] | None) -> np.ndarray | None:
    return None if history is None else _numpy(torch.stack(history))
