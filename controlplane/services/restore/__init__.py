"""What an old copy of the store must not do: backups, proof of what was, and new epochs."""
