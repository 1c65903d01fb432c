"""A plan over shards: stages joined, counted, resumed and shared among processes."""
