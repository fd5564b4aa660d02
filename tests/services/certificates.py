"""A certificate authority for tests, and the certificates it signs: good, expired, or for somebody else."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

THIS_MACHINE = ("localhost", "127.0.0.1")


class Certificate:
    """A certificate and its private key, as PEM files and text."""

    def __init__(
        self, folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> None:
        self.file, self.key_file = folder / f"{name}.pem", folder / f"{name}.key"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    def server_context(self, *, clients_of: Authority | None = None) -> ssl.SSLContext:
        """What a server shows; with `clients_of` it wants a certificate of that authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key_file)
        if clients_of is not None:
            context.load_verify_locations(clients_of.file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class Authority:
    """Signs certificates; trusted by whoever is given its `file`."""

    def __init__(self, folder: Path, *, name: str = "ca") -> None:
        self._folder = folder
        self._name = _named(f"Test {name}")
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _valid(x509.CertificateBuilder(), expired=False)
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_CA_USE, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.file = Certificate(folder, name, certificate, self._key).file

    def issue(
        self, name: str, *, hosts: tuple[str, ...] = THIS_MACHINE, expired: bool = False
    ) -> Certificate:
        """A certificate with this common name, for these hosts; `expired` since yesterday."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _valid(x509.CertificateBuilder(), expired=expired)
            .subject_name(_named(name))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return Certificate(self._folder, name, certificate, key)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _valid(builder: x509.CertificateBuilder, *, expired: bool) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    until = now + timedelta(days=-1 if expired else 2)
    return builder.not_valid_before(now - timedelta(days=3)).not_valid_after(until)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


_CA_USE = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)
