"""The API: `v1/*.proto` is the one place to read it; `gen/` is generated from it and never edited."""
