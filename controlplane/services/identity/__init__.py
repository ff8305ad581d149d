"""Who a node or a workload is: attested, enrolled, issued to, renewed, revoked."""
