"""`writ`: one file per noun. It talks to the API like everyone else and knows only the pure packages beside it."""
