"""Files that appear whole or not at all, claims on them, the cache of this machine, and remote stores."""
