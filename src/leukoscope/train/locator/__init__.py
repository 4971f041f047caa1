"""Training the locator: photographs, the task, the bundle."""
