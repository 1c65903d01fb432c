"""The format: a sample, a tar of samples, a manifest, and what an input names."""
