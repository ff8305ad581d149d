"""Use cases: enrol, issue, publish, revoke, witness. They use ports and the pure packages, never gRPC."""
