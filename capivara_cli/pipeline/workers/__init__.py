"""A worker process: its job as JSON, the worker itself, and what it reports."""
