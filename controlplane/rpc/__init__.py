"""Servicers: convert, call a service, convert. Who calls is read from the TLS peer here and nowhere else."""
