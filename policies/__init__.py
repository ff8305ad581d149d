"""Cedar policies compiled to rules, decided, and carried in signed documents.

Pure: no clock, no I/O. `cedar` is the one module that touches Cedar's engine; what cannot be compiled exactly
is refused here, when a policy is applied, never approximated later. Deny is the default and wins over allow.
"""
