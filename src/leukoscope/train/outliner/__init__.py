"""Training what outlines cells: patches, the task, the bundle; YOLO11-seg."""
