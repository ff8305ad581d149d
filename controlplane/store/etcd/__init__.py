"""The store in etcd: `stubs` loads the `etcd3` package, `connection` talks, `store` reads and commits, `watching` follows.

Values are sealed before they leave this process (`store.sealing`): etcd, its backups and its operators see keys only.
"""
