"""Photographs: safe reading, quality checks, and the colour of the empty background."""

from leukoscope.images.color import background_color, white_balance

__all__ = ["background_color", "white_balance"]
