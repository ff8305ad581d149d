"""Envoy as the data plane: what we tell it (pure builders), how we tell it (xDS), how we keep it running,
and how we end a stream whose permission has gone. Decisions are Envoy's; nothing here sees a request.
"""
