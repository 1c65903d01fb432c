"""The HTML report of a run: one module per part of the page."""
