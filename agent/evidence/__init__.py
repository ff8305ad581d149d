"""Evidence of this node: access log -> decision record -> Merkle log -> checkpoint, cosigned by the control plane."""
