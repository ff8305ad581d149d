"""The agent beside every node: holds its identity, verifies what the control plane signed, drives Envoy,
and keeps the evidence. It is not in the path of a request: Envoy decides, also when the agent is gone.

It knows the control plane only through `controlplane.api`.
"""
