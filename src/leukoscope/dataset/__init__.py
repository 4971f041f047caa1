"""Annotated data sets: the manifest, one reader a format, tables of codes, splits by patient."""
