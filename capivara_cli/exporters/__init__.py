"""Forms in which a finished run is given to others; one file, one form."""
