"""The settings of decoding that the tabs share, folded away until somebody wants them."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from gptface.errors import InputError
from gptface.studio.wishes import LARGEST_SEED, MOST_STEPS, Decoding, checked_words

__all__ = ["DecodingChoices", "whole"]

MATCHING = [("Off", "none"), ("Quick", "first_order"), ("Thorough (slow)", "exact")]


@dataclass(frozen=True)
class DecodingChoices:
    """The components; their values, in the order of :attr:`inputs`, make a :class:`Decoding`."""

    seed: gr.Number
    steps: gr.Slider
    guidance_scale: gr.Slider
    match_guidance: gr.Radio
    temperature: gr.Slider
    negative: gr.Textbox

    @classmethod
    def build(cls) -> DecodingChoices:
        """In the column that is being laid out."""
        usual = Decoding()
        with gr.Accordion("Fine tuning", open=False):
            return cls(
                seed=gr.Number(
                    usual.seed, label="Seed", info="The same seed gives the same picture.", precision=0,
                    minimum=0, maximum=LARGEST_SEED,
                ),
                steps=gr.Slider(1, MOST_STEPS, usual.steps, step=1, label="Steps", info="More are slower."),
                guidance_scale=gr.Slider(
                    0, 8, usual.guidance_scale, step=0.5, label="Guidance",
                    info="How strongly the words pull; 1 is off.",
                ),
                match_guidance=gr.Radio(
                    MATCHING, value=usual.match_guidance, label="Match guidance",
                    info="Asks at every step how well the picture fits the words.",
                ),
                temperature=gr.Slider(
                    0, 2, usual.temperature, step=0.1, label="Variety", info="0 takes the likeliest everywhere."
                ),
                negative=gr.Textbox(label="Away from", placeholder="what it should not look like", lines=1),
            )  # fmt: skip

    @property
    def inputs(self) -> list[gr.components.Component]:
        return [self.seed, self.steps, self.guidance_scale, self.match_guidance, self.temperature, self.negative]

    @staticmethod
    def read(*values: object) -> Decoding:
        """The settings of the components' values.

        Raises:
            InputError: one of them is empty or out of range.
        """
        seed, steps, scale, match, temperature, negative = values
        return Decoding(
            whole(seed, "seed"), whole(steps, "steps"), float(scale), match, float(temperature),  # type: ignore[arg-type]
            checked_words(negative),  # type: ignore[arg-type]
        )  # fmt: skip


def whole(value: object, name: str) -> int:
    """A whole number of a number box.

    Raises:
        InputError: the box is empty, or holds none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise InputError(f"The {name} must be a whole number.")
    return int(value)
