"""Remote stores. An interrupted download resumes; a file appears only when its upload is complete."""
