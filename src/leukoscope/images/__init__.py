"""Photographs: finding and reading them safely, quality checks, and the colour of the empty background."""

from leukoscope.images.color import background_color, white_balance
from leukoscope.images.listing import list_images
from leukoscope.images.quality import PROBLEMS, Quality, check_quality
from leukoscope.images.read import MAX_PIXELS, mislabelled, pages, read_field, read_image

__all__ = [
    "MAX_PIXELS",
    "PROBLEMS",
    "Quality",
    "background_color",
    "check_quality",
    "list_images",
    "mislabelled",
    "pages",
    "read_field",
    "read_image",
    "white_balance",
]
