"""Identities for the processes of this node: the SPIFFE Workload API and Envoy's SDS on one Unix socket.

Who calls is what the kernel says (`peer`), carried past gRPC by a relay (`relay`); what it is given is decided in one pure
place (`entitled`). Keys are made here, per workload, and only go to the process that is that workload.
"""
