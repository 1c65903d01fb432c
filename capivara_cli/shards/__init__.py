"""The data format: samples, tars of samples, manifests, and the shards that an input names."""
