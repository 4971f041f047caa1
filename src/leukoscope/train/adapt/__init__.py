"""Fitting a classifier to a new site with few labelled cells: features, heads, fine-tuning, and choosing the cells."""

from leukoscope.train.adapt.adapt import SitePredictor, adapt, embed_cells
from leukoscope.train.adapt.choose import choose_cells

__all__ = ["SitePredictor", "adapt", "choose_cells", "embed_cells"]
