"""A run as one HTML page that can be shown: results, examples, captions, training, costs and provenance."""
