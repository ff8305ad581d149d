"""Evidence: decision records, Merkle log, checkpoints, tallies, and their offline verification.

Pure: the formats and the checks live here, files and networks do not. RFC 6962 hashing, C2SP tlog-tiles and
signed notes; `verify` needs only bytes and public keys, so an auditor can run it far from the mesh.
"""
