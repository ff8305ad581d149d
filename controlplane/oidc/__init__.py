"""Operators whom an OpenID Connect issuer vouches for. It knows issuers and their keys; roles are mapped elsewhere."""
