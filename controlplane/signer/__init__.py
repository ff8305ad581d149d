"""Who holds private keys. A signer signs bytes by key name and never gives a key away."""
