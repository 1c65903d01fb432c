"""Fine-tune the text tower of a CLIP model, or both towers."""
