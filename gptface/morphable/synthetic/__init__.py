"""The built-in synthetic head: drawn from formulas alone, so that everything runs with nothing downloaded."""

from gptface.morphable.synthetic.head import synthetic_head

__all__ = ["synthetic_head"]
