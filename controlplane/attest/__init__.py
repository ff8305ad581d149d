"""How a newcomer proves which node it is. An attestor turns a credential into claims; issuing is elsewhere."""
