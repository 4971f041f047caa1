"""Photographs: finding and reading them safely, quality checks, and the colour of the empty background."""

from leukoscope.images.color import background_color, white_balance
from leukoscope.images.listing import list_images
from leukoscope.images.pages import Picture, header_megapixels, read_pictures
from leukoscope.images.quality import PROBLEMS, Quality, check_quality
from leukoscope.images.read import MAX_PIXELS, mislabelled, pages, read_field, read_image
from leukoscope.images.stored import file_sha256, open_stored

__all__ = [
    "MAX_PIXELS",
    "PROBLEMS",
    "Picture",
    "Quality",
    "background_color",
    "check_quality",
    "file_sha256",
    "header_megapixels",
    "list_images",
    "mislabelled",
    "open_stored",
    "pages",
    "read_field",
    "read_image",
    "read_pictures",
    "white_balance",
]
