"""Generated from `../v1`; `make proto` rewrites it, `make check` sees that it is fresh."""
