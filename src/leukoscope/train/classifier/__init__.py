"""Training the cell classifier: settings, cells and what they are shown as, the task, the bundle."""
