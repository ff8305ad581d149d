"""What we sign and how we check it: SPIFFE IDs, keys, certificates, envelopes.

Pure: bytes in, values out. No files, sockets, clocks or random numbers of its own; callers pass time and
randomness. Imports the standard library and `cryptography`, nothing else, and knows no other package of ours.
"""
