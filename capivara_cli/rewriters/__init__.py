"""Ways to say a caption differently: one file each."""
