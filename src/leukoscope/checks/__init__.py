"""What a set's owner checks before trusting it: suspect annotations, its numbers and data sheet, its single cells."""
