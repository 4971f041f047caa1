"""From cells to a patient: the marrow study (CBLC). docs/studies/cblc.md says what it measures and how to run it."""
