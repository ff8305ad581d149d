"""How a newcomer proves which node it is. An attestor turns evidence into claims; who may have what, and issuing, are elsewhere.

`base` is the port. Its adapters: `token` (an operator invited it), `x509pop` (it holds the key of a machine certificate),
`kubernetes` (an API server says which pod it is). They know no store: what they must look up, they ask a port of theirs for.
"""
