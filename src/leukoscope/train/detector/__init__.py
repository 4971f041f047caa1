"""Training detectors: detection transformers, and YOLO."""
