"""Tables of results, for the terminal and as Markdown, LaTeX and CSV files."""
