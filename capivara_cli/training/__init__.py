"""Fine-tuning the text tower of a CLIP."""
