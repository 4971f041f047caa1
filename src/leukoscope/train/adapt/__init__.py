"""Fitting a classifier to a new site with few labelled cells: features, heads, fine-tuning, and which cells to label."""
