"""Policies and resources: applied, staged, in force, explained."""
