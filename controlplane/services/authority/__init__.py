"""The keys the mesh believes in: issuing CAs and JWT keys, made, activated, replaced, tainted, retired."""
