"""Remote stores: reading resumes where it was interrupted; a file appears only when it is whole."""
