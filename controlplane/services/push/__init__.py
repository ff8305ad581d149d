"""What every node is told: signed once, sent to all, and known to have arrived."""
