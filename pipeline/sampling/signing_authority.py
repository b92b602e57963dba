"""Who signs drawn pictures: a team's certificate by configuration, else a small authority made on first use.

Content Credentials want a signer's certificate that another one issued. A certificate of a public authority is not
needed: whoever trusts the root certificate (`DREAMTRACE_TRUSTED_ROOTS`) can tell who signed a picture.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pipeline.errors import UserError

CERTIFICATE, KEY, ROOTS = "DREAMTRACE_SIGNING_CERTIFICATE", "DREAMTRACE_SIGNING_KEY", "DREAMTRACE_TRUSTED_ROOTS"
YEARS = 10
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


class SigningError(UserError):
    """The certificate or the key cannot be used for signing."""


@dataclass(frozen=True)
class SigningIdentity:
    """A certificate chain (PEM, the signer's own first), its private key (PKCS#8 PEM) and C2PA's algorithm name."""

    chain: bytes
    key: bytes
    algorithm: str


def signing_identity() -> SigningIdentity:
    """The identity that the environment names, else that of this user's own authority, which is made on first use.

    Raises:
        SigningError: a file is missing, is not PEM, has expired, or certificate and key do not belong together.
    """
    certificate, key = os.environ.get(CERTIFICATE), os.environ.get(KEY)
    if bool(certificate) != bool(key):
        raise SigningError(f"set both {CERTIFICATE} and {KEY}, or neither")
    if certificate and key:
        return _read_identity(Path(certificate), Path(key))
    folder = own_authority()
    return _read_identity(folder / "chain.pem", folder / "signer.key")


def trusted_roots() -> bytes:
    """The root certificates (PEM) that are trusted: this user's own authority, and those of DREAMTRACE_TRUSTED_ROOTS.

    Raises:
        SigningError: DREAMTRACE_TRUSTED_ROOTS names a file that holds no certificate.
    """
    own = authority_folder() / "root.pem"
    roots = own.read_bytes() if own.is_file() else b""
    if given := os.environ.get(ROOTS):
        _certificates(Path(given))
        roots += Path(given).read_bytes()
    return roots


def authority_folder() -> Path:
    """Where this user's authority is kept: below XDG_DATA_HOME or ~/.local/share."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "dreamtrace" / "signing"


def own_authority() -> Path:
    """The folder of this user's authority: root.pem, root.key, chain.pem, signer.key; made where it is missing.

    Raises:
        SigningError: the folder cannot be written.
    """
    folder = authority_folder()
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent))  # for its owner alone
        for name, content in _make_authority().items():
            with os.fdopen(os.open(fresh / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
        try:
            fresh.rename(folder)
        except OSError:  # another process was faster: its authority is as good
            shutil.rmtree(fresh)
    except OSError as error:
        raise SigningError(
            f"the certificate that signs pictures cannot be kept in {folder} ({error.strerror}); make the folder "
            f"writable, set XDG_DATA_HOME, or name a certificate with {CERTIFICATE} and {KEY}"
        ) from None
    return folder


def _make_authority() -> dict[str, bytes]:
    """A root (P-256, path length 0) and a signer's certificate with the extensions that C2PA asks for.

    C2PA specification 2.2, section 14.5: key usage digital signature, extended key usage e-mail protection, subject and
    authority key identifiers; a certificate that is its own issuer is refused.
    """
    root_key, signer_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name, signer_name = _name("dreamtrace local authority"), _name("dreamtrace")
    root = (
        _begin(root_name, root_name, root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False)
        .sign(root_key, SHA256())
    )
    signer = (
        _begin(signer_name, root_name, signer_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(signer_key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, SHA256())
    )
    return {
        "root.pem": root.public_bytes(Encoding.PEM),
        "root.key": root_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "chain.pem": signer.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM),
        "signer.key": signer_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    }


def _begin(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks of two machines differ
        .not_valid_after(now + timedelta(days=365 * YEARS))
    )


def _name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "dreamtrace"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def _key_usage(**wanted: bool) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: wanted.get(name, False) for name in names})


def _read_identity(certificate: Path, key: Path) -> SigningIdentity:
    signer = _certificates(certificate)[0]
    try:
        private = load_pem_private_key(key.read_bytes(), None)
    except OSError as error:
        raise SigningError(f"{key} cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningError(f"{key} is not an unencrypted private key in PEM ({error})") from None
    if private.public_key() != signer.public_key():
        raise SigningError(f"{key} is not the private key of the first certificate in {certificate}")
    if signer.not_valid_after_utc < datetime.now(UTC):
        raise SigningError(f"the certificate in {certificate} expired on {signer.not_valid_after_utc:%Y-%m-%d}")
    match private:
        case ec.EllipticCurvePrivateKey() if private.curve.name in CURVES:
            algorithm = CURVES[private.curve.name]
        case ed25519.Ed25519PrivateKey():
            algorithm = "ed25519"
        case rsa.RSAPrivateKey():
            algorithm = "ps256"
        case _:
            raise SigningError(f"{key}: Content Credentials are signed with P-256, P-384, P-521, Ed25519 or RSA keys")
    plain = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return SigningIdentity(certificate.read_bytes(), plain, algorithm)


def _certificates(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except OSError as error:
        raise SigningError(f"{file} cannot be read ({error.strerror})") from None
    except ValueError:
        raise SigningError(f"{file} holds no certificate in PEM") from None
