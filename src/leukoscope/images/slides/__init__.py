"""Whole slides: readers behind one small interface, where on a slide to count, and the regions that become fields.

The libraries (extra `slides`) are imported when a slide is opened, not before.
"""

from leukoscope.images.slides.grouping import one_a_slide
from leukoscope.images.slides.names import is_slide
from leukoscope.images.slides.opening import open_slide, slide_files, slide_sha256
from leukoscope.images.slides.region import Region
from leukoscope.images.slides.shelf import read_region, slide_digest, slide_of
from leukoscope.images.slides.slide import Level, Slide, SlideFacts

__all__ = [
    "Level",
    "Region",
    "Slide",
    "SlideFacts",
    "is_slide",
    "one_a_slide",
    "open_slide",
    "read_region",
    "slide_digest",
    "slide_files",
    "slide_of",
    "slide_sha256",
]
