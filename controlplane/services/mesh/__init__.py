"""How a mesh begins and grows: the root's ceremonies, and the control planes that join it."""
