"""The control plane: enrols, issues, publishes, revokes, witnesses. It never sees a request between nodes.

Arrows point down: main -> rpc -> services -> (store | signer | attest) -> api -> model, config, errors.
The CLI lives here too, but knows only the API and the pure packages.
"""
