"""Fine-tuning any network that classifies crops, and the marrow study's ways of training it."""
