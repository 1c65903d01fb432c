"""Methods to tune a text tower: LoRA and other parameter-efficient ones."""
