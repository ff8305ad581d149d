"""The witness of nodes' logs, and this control plane's own log."""
