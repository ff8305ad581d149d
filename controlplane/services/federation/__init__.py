"""Other trust domains: whom we federate with, and bundles both ways."""
