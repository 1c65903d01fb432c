"""Shards behind URLs: http(s), s3, gs and hf, read and (but for http) written as if they were local."""
