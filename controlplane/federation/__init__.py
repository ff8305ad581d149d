"""HTTPS to and from other trust domains: the endpoint that serves our bundle, and the client that fetches theirs.

Both know TLS and HTTP and nothing of relationships' meaning (`certs.federation`) or of the store (`services`).
"""
