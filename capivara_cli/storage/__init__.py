"""Storage: atomic writes, claims on files, folders of arrays, the local cache, remote stores, and typed JSON."""
