"""Files that appear only when they are complete, claims on them, the cache of this machine, and remote stores."""
