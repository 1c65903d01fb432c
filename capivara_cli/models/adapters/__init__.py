"""What is tuned: LoRA and other parameter-efficient methods."""
