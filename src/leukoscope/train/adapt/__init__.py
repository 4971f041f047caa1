"""Fitting a classifier to a new site with few labelled cells: features, heads, fine-tuning, and choosing the cells."""
