"""The measurements behind our claims about speed, memory and robustness; not installed."""
