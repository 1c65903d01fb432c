"""One file = one identifier of languages."""
