"""Issuers of tokens, OpenID Connect's and those found like them. It knows their keys; what a token lets its bearer do is decided elsewhere."""
