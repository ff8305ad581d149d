"""Where this control plane keeps its own evidence log. It knows files; what they mean is in `audit`."""
