# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""keystore-setup and keystore-cert-import, with the real openssl."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Router

CONF = "/usr/local/cloud/systemvm/conf"
SETUP = (f"{CONF}/agent.properties", f"{CONF}/cloud.jks", "MdZeb52xO7OSGfK2", "365", f"{CONF}/cloud.csr")


def openssl(*words: str, stdin: str = "") -> str:
    done = subprocess.run(["openssl", *words], input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def authority(tmp_path: Path) -> list[str]:
    """Return what makes openssl sign with a CA of the test; its certificate is the first file."""
    files = [str(tmp_path / name) for name in ("ca.pem", "ca.key")]
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=ca", "-keyout", files[1], "-out", files[0])
    return files


def word(pem: str) -> str:
    return pem.replace("\n", "^").replace(" ", "~")


def contents(router: Router) -> dict[str, bytes]:
    folder = router.path(CONF)
    return {file.name: file.read_bytes() for file in folder.iterdir()} if folder.exists() else {}


def imported(router: Router, certificate: str, authority: list[str], key: str = "") -> tuple[str, ...]:
    with open(authority[0], encoding="ascii") as file:
        ca = file.read()
    pairs = (f"{CONF}/cloud.crt", word(certificate), f"{CONF}/cloud.ca.crt", word(ca), f"{CONF}/cloud.key", key)
    return (f"{CONF}/agent.properties", SETUP[2], f"{CONF}/cloud.jks", "ssh", *pairs)


def signed(request: str, authority: list[str]) -> str:
    return openssl("x509", "-req", "-CA", authority[0], "-CAkey", authority[1], "-days", "2", stdin=request)


def test_setup_prints_a_request_and_nothing_else(router: Router) -> None:
    done = router.run("keystore-setup", *SETUP)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("-----BEGIN CERTIFICATE REQUEST-----\n")
    assert done.stdout.count("-----BEGIN") == 1
    text = openssl("req", "-verify", "-noout", "-text", stdin=done.stdout)
    assert "OU = cloudstack, O = cloudstack" in text
    assert "DNS:" in text
    assert router.run("keystore-setup", *SETUP).stdout != done.stdout
    for name in contents(router):
        assert router.path(f"{CONF}/{name}").stat().st_mode & 0o777 == 0o600
    assert contents(router)["agent.properties"] == b"keystore.passphrase=MdZeb52xO7OSGfK2\n"
    openssl("pkcs12", "-in", str(router.path(SETUP[1])), "-passin", "pass:MdZeb52xO7OSGfK2", "-nodes")


def test_the_passphrase_of_the_properties_wins(router: Router) -> None:
    router.put(f"{CONF}/agent.properties", "a=b\nkeystore.passphrase=other word\n")
    assert router.run("keystore-setup", *SETUP).returncode == 0
    openssl("pkcs12", "-in", str(router.path(SETUP[1])), "-passin", "pass:other word", "-nodes")


@pytest.mark.parametrize("number", range(5))
def test_setup_tells_no_failure_but_by_saying_nothing(router: Router, number: int) -> None:
    words = list(SETUP)
    words[number] = "" if number in (2, 3) else "/etc/passwd"
    done = router.run("keystore-setup", *words)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert contents(router) == {}


@pytest.mark.parametrize(("number", "name"), [(1, "agent.properties"), (4, "cloud.jks"), (4, "cloud.jks.key")])
def test_setup_writes_no_file_over_another(router: Router, number: int, name: str) -> None:
    words = list(SETUP)
    words[number] = f"{CONF}/{name}"
    done = router.run("keystore-setup", *words)
    assert (done.returncode, done.stdout, contents(router)) == (1, "", {})


def test_an_import_writes_no_file_over_another(router: Router, authority: list[str]) -> None:
    certificate = signed(router.run("keystore-setup", *SETUP).stdout, authority)
    before = contents(router)
    words = list(imported(router, certificate, authority))
    words[6] = words[4]
    assert "expected different files" in router.fails("keystore-cert-import", *words)
    assert contents(router) == before


def test_the_keystore_is_replaced_last(router: Router, authority: list[str]) -> None:
    certificate = signed(router.run("keystore-setup", *SETUP).stdout, authority)
    before = router.path(SETUP[1]).read_bytes()
    key = router.path(f"{CONF}/cloud.jks.key")
    words = imported(router, certificate, authority, word(key.read_text()))
    key.unlink()
    key.mkdir()
    router.fails("keystore-cert-import", *words)
    assert router.path(SETUP[1]).read_bytes() == before


def test_a_certificate_is_taken(router: Router, authority: list[str]) -> None:
    router.tool("update-ca-certificates", "exit 0")
    certificate = signed(router.run("keystore-setup", *SETUP).stdout, authority)
    for last in ((""), ()):
        words = imported(router, certificate, authority)[:9] + ((last,) if last == "" else ())
        done = router.run("keystore-cert-import", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert router.path(f"{CONF}/cloud.crt").read_text() == certificate
    assert b"PRIVATE KEY" in contents(router)["cloud.key"]
    chain = openssl("pkcs12", "-in", str(router.path(SETUP[1])), "-passin", f"pass:{SETUP[2]}", "-nodes")
    assert chain.count("BEGIN CERTIFICATE") == 2
    with open(authority[0], encoding="ascii") as file:
        trusted = router.path("/usr/local/share/ca-certificates/cloudstack/ca.crt")
        assert trusted.read_text() == file.read()
    assert trusted.parent.stat().st_mode & 0o777 == 0o755


def test_a_foreign_key_changes_nothing(router: Router, authority: list[str]) -> None:
    certificate = signed(router.run("keystore-setup", *SETUP).stdout, authority)
    before = contents(router)
    key = openssl("genpkey", "-algorithm", "RSA")
    assert "do not belong together" in router.fails(
        "keystore-cert-import", *imported(router, certificate, authority, word(key))
    )
    assert contents(router) == before


@pytest.mark.parametrize(
    "text", ["$(touch /tmp/owned)", "", "-----BEGIN CERTIFICATE-----^$(id)^-----END CERTIFICATE-----"]
)
def test_what_is_no_certificate_is_refused(router: Router, authority: list[str], text: str) -> None:
    router.run("keystore-setup", *SETUP)
    before = contents(router)
    router.fails("keystore-cert-import", *imported(router, text, authority))
    assert contents(router) == before
