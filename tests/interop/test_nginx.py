"""nginx from Debian on a Writ identity, by files alone: it reloads with every renewal, under load, and no request fails."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

import pytest
import workloads
from cryptography import x509
from workloads import ID, eventually, node_of, register

from controlplane.api.gen import admin_pb2

pytestmark = [pytest.mark.clients, pytest.mark.timeout(240)]
HOST = "web.app-1.paris.demo.example"
ROTATIONS = 5
CONFIG = """
daemon off; master_process on; worker_processes 2; {user}
pid {dir}/nginx.pid; error_log {dir}/error.log info;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.3;
    ssl_certificate {files}/chain.pem; ssl_certificate_key {files}/key.pem;
    ssl_client_certificate {files}/bundle.pem; ssl_verify_client on; ssl_verify_depth 2;
    location / {{ return 200 "$ssl_client_s_dn"; }}
  }}
}}
"""


@pytest.fixture
def mesh():
    with workloads.one_node() as made:
        register(made, "web")
        with workloads.Workload(node_of(made).workload_socket) as caller:
            eventually(lambda: caller.names() == ["web"])
        yield made


@contextlib.contextmanager
def running(*command: object):
    child = subprocess.Popen(list(map(str, command)))
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Load:
    """Threads that ask again and again, each time over a fresh connection, as another workload's client would."""

    def __init__(self, files: Path, port: int) -> None:
        self._files, self._port = files, port
        self.answered, self.failures, self.serials = 0, [], set()
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                serial = self._ask()
            except (OSError, AssertionError, ValueError) as exc:
                with self._lock:
                    self.failures.append(repr(exc))
                continue
            with self._lock:
                self.answered += 1
                self.serials.add(serial)

    def _ask(self) -> int:
        now = (self._files / "current").resolve()  # one set, of one moment
        context = ssl.create_default_context(cafile=now / "bundle.pem")
        context.load_cert_chain(now / "chain.pem", now / "key.pem")
        with (
            socket.create_connection(("127.0.0.1", self._port), timeout=20) as raw,
            context.wrap_socket(raw, server_hostname=HOST) as tls,
        ):
            leaf = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"{ID}/web"]
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while more := tls.recv(4096):
                answer += more
            assert answer.startswith(b"HTTP/1.1 200 "), answer[:100]
            assert b"CN=web" in answer
            return leaf.serial_number


def test_nginx_reloads_under_load_without_a_failed_request(mesh, tmp_path) -> None:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert nginx, "run: make test-long, or scripts/clients .venv"
    files, port = tmp_path / "files", free_port()
    (tmp_path / "nginx.conf").write_text(
        CONFIG.format(dir=tmp_path, files=files, port=port, user="user root;" if os.getuid() == 0 else "")
    )
    writ = Path(sys.executable).with_name("writ")
    reach = ["--socket", f"unix://{node_of(mesh).workload_socket}", "--workload", "web"]
    tell = ["--signal", "HUP", "--pid-file", tmp_path / "nginx.pid"]
    with running(writ, "agent", "files", "--dir", files, *reach, *tell):
        eventually((files / "key.pem").exists)
        with running(nginx, "-c", tmp_path / "nginx.conf", "-e", tmp_path / "error.log", "-p", tmp_path):
            eventually((tmp_path / "nginx.pid").exists)
            eventually(lambda: socket.create_connection(("127.0.0.1", port), timeout=1).close() is None)
            with Load(files, port) as load:
                for number in range(
                    ROTATIONS
                ):  # other attributes ask for another certificate, like a renewal
                    register(mesh, "web", attributes=admin_pb2.Attributes(class_ceiling=number % 2))
                    eventually(lambda wanted=number + 2: len(load.serials) >= wanted or load.failures)
    assert load.failures == []
    assert len(load.serials) == ROTATIONS + 1
    assert load.answered > 100
