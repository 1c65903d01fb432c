"""Results for people: tables, model cards, HTML pages."""
