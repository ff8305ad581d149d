"""Operators: who they are, what they may do, and when a second one must agree."""
