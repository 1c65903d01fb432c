"""What our claims about speed, memory and robustness were measured with; not installed."""
