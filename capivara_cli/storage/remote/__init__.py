"""Remote stores: read with resume, uploaded whole."""
