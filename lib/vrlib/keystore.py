# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make a key and its request, and take the certificate: what every system VM of CloudStack can (contract.md).

No router is asked for it by CloudStack 4.23. The keystore is PKCS#12, which Java reads. A password is never an argument
of what is started here, and nothing of a certificate reaches a shell.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import syslog
import tempfile

from vrlib import command as vr
from vrlib.process import tool

CONF = "/usr/local/cloud/systemvm/conf"
TRUSTED = "/usr/local/share/ca-certificates/cloudstack"
PASSPHRASE = "keystore.passphrase"
ALIAS = "cloud"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PEM = re.compile(r"(-----BEGIN ([A-Z ]+)-----\n[A-Za-z0-9+/=\n]+-----END \2-----\n?)+")


def setup(args: list[str]) -> None:
    """Print a certificate request for a new key; what goes wrong is in the journal only: all output is the request."""
    try:
        if len(args) != 5 or not re.fullmatch(r"[1-9][0-9]{0,4}", args[3]):
            raise vr.CommandError("expected PROPERTIES KEYSTORE PASSWORD DAYS CSR")
        properties, keystore, request = (_place(args[number]) for number in (0, 1, 4))
        _check_apart(properties, keystore, request)
        print(_setup(properties, keystore, _passphrase(properties, args[2]), args[3], request), end="")
    except (vr.CommandError, OSError) as error:
        syslog.syslog(syslog.LOG_ERR, f"keystore-setup: {vr.one_line(error)}")
        raise SystemExit(1) from None


def _setup(properties: str, keystore: str, password: str, days: str, request: str) -> str:
    with _workshop() as folder:
        key, made, certificate = (f"{folder}/{name}" for name in ("key.pem", "request.pem", "certificate.pem"))
        new = ("-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", made)
        _openssl("req", "-new", *new, "-subj", f"/CN={_host()}/OU=cloudstack/O=cloudstack", "-addext", _names())
        _openssl(
            "req", "-x509", "-in", made, "-key", key, "-days", days, "-copy_extensions", "copy", "-out", certificate
        )
        store = _pkcs12(folder, key, certificate, None, password)
        text = _read(made)
        _remember(properties, password)
        for content, path in ((text, request), (_read(key), _key_of(keystore)), (store, keystore)):
            _put(path, content)
        return text.decode()


def import_certificate(args: list[str]) -> None:
    """Put certificate, CA and key in place if they belong together, else nothing.

    Each file is replaced as a whole, the keystore last: until then it is the old one, with its own key in it.
    """
    # ssh drops an empty last word: no key was sent, it is that of the request.
    words = [*args, ""] if len(args) == 9 else args
    if len(words) != 10 or words[3] != "ssh":
        raise vr.CommandError("usage: keystore-cert-import PROPERTIES PASSWORD KEYSTORE ssh PATH PEM PATH PEM PATH PEM")
    properties, keystore = _place(words[0]), _place(words[2])
    places = [_place(words[number]) for number in (4, 6, 8)]
    _check_apart(properties, keystore, *places)
    certificate, authority = _pem(words[5], "CERTIFICATE"), _pem(words[7], "CERTIFICATE")
    key = _pem(words[9], "PRIVATE KEY") if words[9].strip() else _read(_key_of(keystore))
    password = _passphrase(properties, words[1])
    with _workshop() as folder:
        files = [f"{folder}/{name}.pem" for name in ("certificate", "ca", "key")]
        for path, content in zip(files, (certificate, authority, key), strict=True):
            _put(path, content)
        if _openssl("x509", "-in", files[0], "-noout", "-pubkey") != _openssl("pkey", "-in", files[2], "-pubout"):
            raise vr.CommandError("keystore-cert-import: key and certificate do not belong together")
        _openssl("x509", "-in", files[1], "-noout")
        store = _pkcs12(folder, files[2], files[0], files[1], password)
    _remember(properties, password)
    os.makedirs(vr.at(TRUSTED), exist_ok=True)
    # Everybody reads what links of /etc/ssl/certs lead to.
    os.chmod(vr.at(TRUSTED), 0o755)  # noqa: S103 - as is its parent
    _put(vr.at(f"{TRUSTED}/ca.crt"), authority, 0o644)
    contents = (certificate, authority, key, key, store)
    for path, content in zip((*places, _key_of(keystore), keystore), contents, strict=True):
        _put(path, content)
    done = tool(["update-ca-certificates"])
    if done.returncode != 0:
        raise vr.CommandError(f"update-ca-certificates: {done.stderr}")


def _workshop() -> tempfile.TemporaryDirectory[str]:
    """Make a directory in memory that is gone afterwards; 0700, as everything that tempfile makes."""
    os.makedirs(vr.at("/run/cloudstack"), mode=0o700, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=vr.at("/run/cloudstack"), prefix="keystore.")


def _place(path: str) -> str:
    """Return where a file of the configuration is, or refuse it."""
    folder, _slash, name = path.rpartition("/")
    if folder != CONF or not _NAME.fullmatch(name):
        raise vr.CommandError(f"{vr.one_line(ascii(path))[:100]}: expected a plain file in {CONF}")
    return vr.at(path)


def _check_apart(properties: str, keystore: str, *others: str) -> None:
    """Refuse places of which one would be written over another."""
    places = (properties, keystore, _key_of(keystore), *others)
    if len(set(places)) < len(places):
        raise vr.CommandError(f"expected different files in {CONF}")


def _key_of(keystore: str) -> str:
    return f"{keystore}.key"


def _pem(word: str, kind: str) -> bytes:
    """Return a PEM text of this kind, made of a word in which ^ is a line break and ~ a blank."""
    text = word.strip("'\"").replace("^", "\n").replace("~", " ").strip() + "\n"
    kinds = re.findall("-----BEGIN ([A-Z ]+)-----", text)
    if not _PEM.fullmatch(text) or not all(found.endswith(kind) for found in kinds):
        raise vr.CommandError(f"keystore-cert-import: expected a {kind.lower()} in PEM, with ^ for line breaks")
    return text.encode()


def _passphrase(properties: str, given: str) -> str:
    """Return the passphrase of the keystore: that of the properties file if it has one, else the given one."""
    try:
        lines = _read(properties).decode(errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    found = [line.partition("=")[2].strip() for line in lines if line.partition("=")[0].strip() == PASSPHRASE]
    password = next((value for value in found if value), given)
    if not password or not password.isprintable():
        raise vr.CommandError("expected a passphrase of printable characters")
    return password


def _remember(properties: str, password: str) -> None:
    try:
        text = _read(properties)
    except FileNotFoundError:
        text = b""
    if not re.search(rb"^\s*keystore\.passphrase\s*=\s*\S", text, re.MULTILINE):
        text += (b"" if not text or text.endswith(b"\n") else b"\n") + f"{PASSPHRASE}={password}\n".encode()
        _put(properties, text)


def _pkcs12(folder: str, key: str, certificate: str, authority: str | None, password: str) -> bytes:
    secret, store = f"{folder}/passphrase", f"{folder}/store.p12"
    _put(secret, f"{password}\n".encode())
    chain = () if authority is None else ("-certfile", authority)
    words = ("-export", "-inkey", key, "-in", certificate, *chain, "-name", ALIAS, "-out", store)
    _openssl("pkcs12", *words, "-passout", f"file:{secret}")
    return _read(store)


def _openssl(*words: str) -> str:
    done = tool(["openssl", *words])
    if done.returncode != 0:
        raise vr.CommandError(f"openssl {words[0]}: {vr.one_line(done.stderr)[:300]}")
    return done.stdout


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()) or "router"


def _names() -> str:
    """Return the other names of the subject: the host's, and every address that others may know it by."""
    links = json.loads(tool(["ip", "-json", "address", "show"]).stdout or "[]")
    found = [entry.get("local", "") for link in links for entry in link.get("addr_info", ())]
    addresses = [ipaddress.ip_address(text) for text in dict.fromkeys(found) if text]
    reached = [str(ip) for ip in addresses if not ip.is_loopback and not ip.is_link_local]
    return "subjectAltName=" + ",".join([f"DNS:{_host()}", *(f"IP:{ip}" for ip in reached)])


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _put(path: str, content: bytes, mode: int = 0o600) -> None:
    """Replace a file as a whole."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    vr.write_atomically(path, content, mode)
