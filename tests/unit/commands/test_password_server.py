# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""vr-password-server, over real sockets on the loopback network."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Coroutine
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "libexec" / "vr-password-server"
NETWORK = f"127.{os.getpid() >> 8 & 127}.{os.getpid() & 255}"
"""One of its own for each process that runs tests."""
SERVER, SECOND = f"{NETWORK}.1", f"{NETWORK}.2"
VM, OTHER = f"{NETWORK}.11", f"{NETWORK}.12"


@pytest.fixture(scope="module")
def daemon() -> ModuleType:
    """Return the script as a module."""
    loader = SourceFileLoader("vr_password_server", str(SCRIPT))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


@pytest.fixture
def state(tmp_path: Path) -> Path:
    for folder in ("waiting", "consumed"):
        (tmp_path / folder).mkdir()
    (tmp_path / "waiting" / f"{VM},d1").write_text("pässword €", encoding="utf-8")
    return tmp_path


@pytest.fixture
def serve(daemon: ModuleType, state: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that runs a coroutine against a server."""
    monkeypatch.setattr(daemon, "PORT", 18080)
    monkeypatch.setattr(daemon, "PATIENCE", 0.5)

    def run(client: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        async def both() -> Any:
            server = daemon.Server(daemon.Passwords(str(state)))
            await server.listen([SERVER])
            try:
                return await client()
            finally:
                await server.listen([])

        return asyncio.run(both())

    return run


async def ask(head: str, client: str = VM) -> tuple[int, str]:
    """Send a request from an address and return status and body."""
    reader, writer = await asyncio.open_connection(SERVER, 18080, local_addr=(client, 0))
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    first, _blank, body = answer.partition(b"\r\n\r\n")
    return int(first.split()[1]), body.decode()


def wish(word: str) -> str:
    return f"GET / HTTP/1.1\r\nHost: data-server\r\nDomU_Request: {word}\r\n\r\n"


def test_a_vm_gets_its_password_until_it_says_that_it_has_it(serve: Callable[..., Any], state: Path) -> None:
    async def client() -> list[tuple[int, str]]:
        words = ("send_my_password", "send_my_password", "saved_password", "send_my_password")
        return [await ask(wish(word)) for word in words]

    first, again, saved, after = serve(client)
    assert first == again == (200, "pässword €")
    assert saved == after == (200, "saved_password")
    assert list((state / "waiting").iterdir()) == []
    assert (state / "consumed" / f"{VM},d1").read_bytes() == b"", "the password is wiped"
    assert serve(lambda: ask(wish("send_my_password"))) == (200, "saved_password"), "after a restart of the daemon too"


def test_a_vm_never_gets_or_consumes_that_of_another(serve: Callable[..., Any], state: Path) -> None:
    (state / "waiting" / f"{VM}1,d9").write_text("of another")

    async def client() -> list[tuple[int, str]]:
        return [await ask(wish(word), OTHER) for word in ("send_my_password", "saved_password")]

    assert serve(client) == [(200, "saved_password")] * 2
    assert (state / "waiting" / f"{VM},d1").exists()
    assert serve(lambda: ask(wish("send_my_password"))) == (200, "pässword €")


def test_a_password_that_came_after_the_one_sent_goes_on_waiting(serve: Callable[..., Any], state: Path) -> None:
    """A reset between asking and acknowledging must not be lost."""

    async def client() -> str:
        await ask(wish("send_my_password"))
        (state / "waiting" / f"{VM},d2").write_text("newer")
        (state / "waiting" / f"{VM},d1").unlink()
        await ask(wish("saved_password"))
        return (await ask(wish("send_my_password")))[1]

    assert serve(client) == "newer"


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.0\r\n\r\n",
        wish("save_password"),
        wish("").replace("GET", "POST"),
        wish("send_my_password").replace("GET", "POST"),
        wish("send_my_password").replace(" HTTP/1.1", ""),
        "nonsense\r\n\r\n",
    ],
)
def test_anything_else_is_a_bad_request(serve: Callable[..., Any], head: str, state: Path) -> None:
    assert serve(lambda: ask(head)) == (400, "bad_request")
    assert (state / "waiting" / f"{VM},d1").exists()


def test_the_name_of_the_header_is_written_in_any_case(serve: Callable[..., Any]) -> None:
    head = wish("send_my_password").replace("DomU_Request: ", "domu_request:")
    assert serve(lambda: ask(head)) == (200, "pässword €")


def test_dawdlers_of_one_vm_keep_nobody_out_and_are_cut_off(
    serve: Callable[..., Any], daemon: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is there before the patience with the others is over, also on a busy machine."""
    monkeypatch.setattr(daemon, "PATIENCE", 3.0)

    async def client() -> tuple[tuple[int, str], float, int]:
        slow = [await asyncio.open_connection(SERVER, 18080, local_addr=(OTHER, 0)) for _number in range(100)]
        for _reader, writer in slow:
            writer.write(b"GET / HTTP/1.1\r\nDomU_Req")
        started = time.monotonic()
        answer = await ask(wish("send_my_password"))
        took = time.monotonic() - started
        ends = await asyncio.gather(
            *(asyncio.wait_for(reader.read(), 30) for reader, _w in slow), return_exceptions=True
        )
        return answer, took, sum(isinstance(end, TimeoutError) for end in ends)

    answer, took, still_open = serve(client)
    assert answer == (200, "pässword €")
    assert took < 2.5
    assert still_open == 0


async def held_open(clients: list[str]) -> int:
    """Connect from each of these addresses, be silent, and return how many connections the server keeps."""
    held = [await asyncio.open_connection(SERVER, 18080, local_addr=(client, 0)) for client in clients]
    ends = await asyncio.gather(*(asyncio.wait_for(reader.read(1), 0.2) for reader, _w in held), return_exceptions=True)
    answer = await ask(wish("send_my_password")) if len(held) - ends.count(b"") < 512 else (200, "pässword €")
    assert answer == (200, "pässword €"), "nobody else is kept out"
    for _reader, writer in held:
        writer.transport.abort()
    return sum(isinstance(end, TimeoutError) for end in ends)


def test_no_vm_holds_more_than_its_share_and_all_no_more_than_there_are(
    serve: Callable[..., Any], daemon: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the first to open as many as there are keeps all others out for as long as they may last."""
    monkeypatch.setattr(daemon, "PATIENCE", 5.0)
    # Both ends of all connections are in this process.
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    assert serve(lambda: held_open([OTHER] * daemon.IN_ALL)) == daemon.PER_CLIENT
    many = [f"{NETWORK}.{20 + number // daemon.PER_CLIENT}" for number in range(daemon.IN_ALL + 40)]
    assert serve(lambda: held_open(many)) == daemon.IN_ALL


def test_the_table_of_routes_is_not_read_for_every_connection(
    daemon: ModuleType, serve: Callable[..., Any], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One VM that connects without end, one after the other or all at once, must not keep the router reading."""
    looks: list[float] = []

    def is_here(address: str) -> bool:
        looks.append(time.monotonic())
        return real(address)

    real = daemon.pair.is_here
    monkeypatch.setattr(daemon.pair, "is_here", is_here)

    async def main(shared: str) -> float:
        server = daemon.Server(daemon.Passwords(str(state)))
        await server.follow(daemon.Places((SERVER,), (shared,)))
        looks.clear()
        started = time.monotonic()
        for _number in range(4):
            held = [await asyncio.open_connection(SERVER, 18080, local_addr=(VM, 0)) for _each in range(100)]
            for _reader, writer in held:
                writer.transport.abort()
        await server.follow(daemon.Places(()))
        return time.monotonic() - started

    for shared in ("192.0.2.77", "127.0.0.1"):
        took = asyncio.run(main(shared))
        assert 1 <= len(looks) <= took / daemon.LOOK + 1


def test_an_endless_request_is_cut_off(serve: Callable[..., Any]) -> None:
    async def client() -> bytes:
        reader, writer = await asyncio.open_connection(SERVER, 18080, local_addr=(VM, 0))
        writer.write(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000)
        try:
            return await asyncio.wait_for(reader.read(), 5)
        except ConnectionResetError:
            return b""

    assert serve(client) == b""


def test_the_list_of_addresses_is_followed(daemon: ModuleType, serve: Callable[..., Any], state: Path) -> None:
    async def reachable(address: str) -> bool:
        try:
            _reader, writer = await asyncio.open_connection(address, 18080)
        except ConnectionRefusedError:
            return False
        writer.close()
        return True

    async def main() -> list[bool]:
        server = daemon.Server(daemon.Passwords(str(state)))
        found = []
        for addresses in ([SERVER], [SERVER, SECOND], [SECOND]):
            await server.listen(addresses)
            found += [await reachable(SERVER), await reachable(SECOND)]
        await server.listen([])
        return found

    assert asyncio.run(main()) == [True, False, True, True, False, True]


def test_an_address_that_is_taken_does_not_close_the_others(daemon: ModuleType, serve: Callable[..., Any]) -> None:
    async def main() -> tuple[int, str]:
        other = daemon._socket(SECOND)
        other.listen()
        server = daemon.Server(daemon.Passwords("/nonexistent"))
        await server.listen([SECOND, SERVER])
        try:
            return await ask("nonsense\r\n\r\n")
        finally:
            await server.listen([])
            other.close()

    assert asyncio.run(main()) == (400, "bad_request")


def test_places_reads_the_list_of_the_converge(daemon: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "listen").write_text("# owner\n10.1.1.1 shared\n10.1.1.84\n2001:db8::1\n240.0.0.84 pair\n")
    assert daemon.places(str(tmp_path / "listen")) == daemon.Places(
        ("10.1.1.1", "10.1.1.84", "2001:db8::1"), ("10.1.1.1",), "240.0.0.84"
    )


def test_a_backup_does_not_answer(daemon: ModuleType, serve: Callable[..., Any], state: Path) -> None:
    """C13: it has the password; the primary, which has the shared address, hands it out."""

    async def answers(shared: str) -> bool:
        server = daemon.Server(daemon.Passwords(str(state)))
        await server.follow(daemon.Places((SERVER,), (shared,)))
        try:
            return (await ask(wish("send_my_password")))[0] == 200
        except (IndexError, ConnectionError):
            return False
        finally:
            await server.follow(daemon.Places(()))

    assert not asyncio.run(answers("192.0.2.77"))
    assert asyncio.run(answers("127.0.0.1"))


def test_what_was_known_before_an_election_is_not_believed_for_longer_than_a_moment(
    daemon: ModuleType, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    here: list[bool] = []
    monkeypatch.setattr(daemon.pair, "is_here", lambda _address: here[-1])
    monkeypatch.setattr(daemon, "LOOK", 0.5)
    server = daemon.Server(daemon.Passwords("/nonexistent"))
    server._shared = ("192.0.2.77",)
    for now in (False, True, False):
        here.append(now)
        assert server._is_primary() is now
        here.append(not now)
        assert server._is_primary() is now, "within LOOK"
        time.sleep(daemon.LOOK)


def pair_of(daemon: ModuleType, tmp_path: Path, password: str = "secret") -> tuple[Any, Any, list[dict[str, str]]]:
    """Return two servers with the same password waiting, and what the first tells."""
    told: list[dict[str, str]] = []
    servers = []
    for name in ("one", "other"):
        (tmp_path / name / "waiting").mkdir(parents=True)
        (tmp_path / name / "consumed").mkdir()
        (tmp_path / name / "waiting" / f"{VM},d1").write_text(password if name == "one" else "secret")
        server = daemon.Server(daemon.Passwords(str(tmp_path / name)))
        server._pair = daemon.pair.Pair("127.0.0.1", server._hear)
        server._pair.tell = told.append
        servers.append(server)
    return servers[0], servers[1], told


async def settle(server: Any) -> None:
    while server._tasks:
        await asyncio.gather(*server._tasks)


@pytest.mark.parametrize(("password", "left"), [("secret", 0), ("another", 1)])
def test_the_other_router_believes_only_who_knows_the_password(
    daemon: ModuleType, tmp_path: Path, password: str, left: int
) -> None:
    """C14: after a failover it does not hand out what is consumed; a VM's lie changes nothing."""
    one, other, told = pair_of(daemon, tmp_path, password)

    async def main() -> None:
        for name, known in one._passwords.saved(VM):
            await one._tell(name, known)
        (news,) = told
        other._pair.datagram_received(json.dumps(news).encode(), None)
        await settle(other)

    asyncio.run(main())
    assert len(list((tmp_path / "other" / "waiting").iterdir())) == left
    assert one._passwords.news() == told, "told again to a router that was down"
    assert other._passwords.news() == ([] if left else told)
    for file in tmp_path.glob("*/consumed/*"):
        assert password not in file.read_text()


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"address":"x","salt":"zz","proof":1}', b"\xff", b"9" * 9999])
def test_noise_on_the_link_is_ignored(daemon: ModuleType, tmp_path: Path, data: bytes) -> None:
    _one, other, _told = pair_of(daemon, tmp_path)
    other._pair.datagram_received(data, None)
    assert not other._tasks


def test_a_flood_of_lies_is_not_looked_into(daemon: ModuleType, tmp_path: Path) -> None:
    _one, other, _told = pair_of(daemon, tmp_path)
    lie = json.dumps({"address": VM, "salt": "00", "proof": "00"}).encode()

    async def main() -> int:
        for _number in range(1000):
            other._pair.datagram_received(lie, None)
        count = len(other._tasks)
        await settle(other)
        return count

    assert asyncio.run(main()) <= 5
    assert len(list((tmp_path / "other" / "waiting").iterdir())) == 1


def test_is_here_knows_the_second_address_of_a_subnet(daemon: ModuleType, tmp_path: Path) -> None:
    trie = tmp_path / "fib_trie"
    trie.write_text(
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.1.1.0\n        /24 link UNICAST\n"
        "Local:\n  +-- 10.1.1.0/24 2 0 2\n     |-- 10.1.1.1\n        /32 host LOCAL\n"
        "     |-- 10.1.1.255\n        /32 link BROADCAST\n"
    )
    found = [daemon.pair.is_here(ip, str(trie)) for ip in ("10.1.1.1", "10.1.1.255", "10.1.1.0", "10.1.1.84")]
    assert found == [True, False, False, False]
