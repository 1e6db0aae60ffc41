"""A certificate that no authority has signed, for servers on this machine."""

from __future__ import annotations

import ipaddress
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.common.waiting import wait_until
from services.worker import redis_server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One that no authority of this machine has signed, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2x tests")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return chain, secret


@contextmanager
def redis_over_tls(folder: Path, certificate: tuple[Path, Path]) -> Iterator[str]:
    """Run a Redis server that speaks TLS only; its URL without options."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("NO TEST OF TLS TO REDIS RUNS: apt-get install redis-server")
    chain, key = certificate
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    files = ["--tls-cert-file", str(chain), "--tls-key-file", str(key)]
    files += ["--tls-ca-cert-file", str(chain), "--tls-auth-clients", "no"]
    process = subprocess.Popen(
        [program, "--port", "0", "--tls-port", str(port), *files, "--save", "", "--dir", folder],
        stdout=subprocess.DEVNULL,
    )
    url = f"rediss://127.0.0.1:{port}/0"
    try:
        wait_until(lambda: redis_server.answers(f"{url}?ssl_ca_certs={chain}"), 30, "Redis is up")
        yield url
    finally:
        process.kill()
        process.wait()
