# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag import archive as archive_module
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.archive import check_name
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.disk import Disk, Entry
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.paths import Limits, Paths
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.store import Store

NAME = "ips.json.5a0c"
SMALL = Limits(
    processed_files=3, processed_bytes=1000, failed_files=4, failed_bytes=1000, result_files=2, result_bytes=1000
)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(tmp_path)
    made.inbox.mkdir(parents=True)
    (made.inbox / NAME).write_bytes(b'{"type":"ips"}')
    return made


@pytest.fixture
def store(paths: Paths) -> Store:
    return Store(paths, SMALL)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/../b", "/etc/passwd", "sub/x", ".hidden", "a..b", "a\\b", "a\nb", "a\0b", "x" * 241],
)
def test_check_name_refuses_what_is_no_plain_name(store: Store, name: str) -> None:
    for use in (
        check_name,
        store.read_drop,
        store.already_processed,
        lambda name: store.remove_drops([name]),
        store.read_result,
    ):
        with pytest.raises(DropError) as caught:
            use(name)
        assert str(caught.value).startswith("drop: name: expected the plain name of a file")
        assert "\n" not in str(caught.value)
    with pytest.raises(DropError):
        store.fail(name, "x")


def test_check_name_takes_what_the_server_sends() -> None:
    for name in ("cmd_line.json", "monitor_service.json", "vm_dhcp_entry.json.a745ed08-077e-4481", "VR-5a.cfg"):
        assert check_name(name) == name


def test_read_drop_returns_the_bytes(store: Store) -> None:
    assert store.read_drop(NAME) == b'{"type":"ips"}'


def test_read_drop_of_no_file_is_one_clear_line(store: Store, paths: Paths) -> None:
    with pytest.raises(DropError) as caught:
        store.read_drop("missing.json")
    assert str(caught.value) == f"missing.json: $: expected a file in {paths.inbox}, got No such file or directory"


def test_read_drop_refuses_what_is_no_regular_file(store: Store, paths: Paths) -> None:
    (paths.inbox / "directory").mkdir()
    (paths.inbox / "link").symlink_to("/etc/hostname")
    os.mkfifo(paths.inbox / "pipe")
    for name in ("directory", "link", "pipe"):
        with pytest.raises(DropError):
            store.read_drop(name)


def test_read_drop_refuses_far_too_much(store: Store, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "MAX_AGGREGATE_BYTES", 10)
    with pytest.raises(DropError, match=f"{NAME}: \\$: expected at most 10 bytes, got more"):
        store.read_drop(NAME)


def archive(store: Store, name: str) -> None:
    """Do with a drop what is done with one that is committed in between."""
    store.copy_drop(name)
    store.remove_drops([name])


def test_archive_keeps_a_private_compressed_copy(store: Store, paths: Paths) -> None:
    archive(store, NAME)
    kept = paths.processed / f"{NAME}.gz"
    assert gzip.decompress(kept.read_bytes()) == b'{"type":"ips"}'
    assert mode(kept) == 0o600
    assert mode(paths.processed) == 0o700
    assert not (paths.inbox / NAME).exists()
    assert store.already_processed(NAME)


def test_archive_may_keep_nothing(store: Store, paths: Paths) -> None:
    store.remove_drops([NAME])
    assert list(paths.inbox.iterdir()) == []
    assert not store.already_processed(NAME)


def test_already_processed_is_not_so_when_it_was_sent_again(store: Store, paths: Paths) -> None:
    """monitor_service.json and cmd_line.json come under one name again and again."""
    archive(store, NAME)
    (paths.inbox / NAME).write_bytes(b"{}")
    assert not store.already_processed(NAME)
    archive(store, NAME)
    assert gzip.decompress((paths.processed / f"{NAME}.gz").read_bytes()) == b"{}"


def test_fail_keeps_drop_and_reason_private(store: Store, paths: Paths) -> None:
    (paths.inbox / NAME).chmod(0o644)
    store.fail(NAME, "ips: wrong")
    assert (paths.failed / NAME).read_bytes() == b'{"type":"ips"}'
    assert (paths.failed / f"{NAME}.reason").read_text() == "ips: wrong\n"
    assert mode(paths.failed / NAME) == mode(paths.failed / f"{NAME}.reason") == 0o600
    assert not (paths.inbox / NAME).exists()


def test_a_failed_drop_does_not_count_as_processed(store: Store, paths: Paths) -> None:
    """Neither by the copy that was made before its commit failed, nor by that of an earlier drop of its name."""
    store.copy_drop(NAME)
    store.fail(NAME, "No space left on device")
    assert not store.already_processed(NAME)
    assert list(paths.processed.iterdir()) == []


def test_fail_without_a_drop_keeps_the_reason(store: Store, paths: Paths) -> None:
    store.fail("missing.json", "no such file")
    assert [path.name for path in paths.failed.iterdir()] == ["missing.json.reason"]


def test_processed_is_capped_by_count(store: Store, paths: Paths) -> None:
    """J4: the oldest goes first."""
    for number in range(6):
        (paths.inbox / f"d{number}").write_bytes(b"x")
        archive(store, f"d{number}")
        os.utime(paths.processed / f"d{number}.gz", (number, number))
    assert {path.name for path in paths.processed.iterdir()} == {"d3.gz", "d4.gz", "d5.gz"}


def test_processed_is_capped_by_bytes_and_keeps_the_newest(store: Store, paths: Paths) -> None:
    for number in range(3):
        (paths.inbox / f"d{number}").write_bytes(os.urandom(600 if number < 2 else 5000))
        archive(store, f"d{number}")
        for old in paths.processed.iterdir():
            os.utime(old, (number, number))
    assert {path.name for path in paths.processed.iterdir()} == {"d2.gz"}


def test_small_files_are_looked_at_only_once_in_a_while(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long-lived router is always at its cap: that must not cost each drop a look at all that is kept."""
    looks = []
    entries = Disk.entries

    def count(disk: Disk, directory: Path) -> list[Entry]:
        looks.append(directory)
        return entries(disk, directory)

    monkeypatch.setattr(Disk, "entries", count)
    store = Store(paths, Limits(result_files=320, result_bytes=1 << 20))
    for number in range(1000):
        store.write_result(f"r{number}", {"rc": 0})
        os.utime(paths.results / f"r{number}.json", (number, number))
        assert len(list(paths.results.iterdir())) <= 320
    assert {f"r{number}.json" for number in range(700, 1000)} <= {path.name for path in paths.results.iterdir()}
    assert 10 < len(looks) < 200


def test_bytes_are_capped_when_files_come_in_groups(paths: Paths) -> None:
    """Groups of two, from an odd count on, never make a multiple of 32."""
    store = Store(paths, Limits(processed_files=10_000, processed_bytes=1_000_000))
    for number in range(300):
        names = [f"d{number}-{part}" for part in range(1 if number == 0 else 2)]
        for name in names:
            (paths.inbox / name).write_bytes(os.urandom(7_000))
            store.copy_drop(name)
        store.remove_drops(names)
        assert sum(path.stat().st_size for path in paths.processed.iterdir()) <= 1_250_000


def test_a_large_file_is_weighed_at_once(paths: Paths) -> None:
    store = Store(paths, Limits(result_files=640, result_bytes=100_000))
    for number in range(5):
        store.write_result(f"r{number}", {"reason": "x" * 40_000})
        os.utime(paths.results / f"r{number}.json", (number, number))
    assert {path.name for path in paths.results.iterdir()} == {"r3.json", "r4.json"}


def test_failed_drops_go_with_their_reasons(store: Store, paths: Paths) -> None:
    for number in range(4):
        (paths.inbox / f"d{number}").write_bytes(b"x")
        store.fail(f"d{number}", "why")
        for path in paths.failed.glob(f"d{number}*"):
            os.utime(path, (number, number))
    assert {path.name for path in paths.failed.iterdir()} == {"d2", "d2.reason", "d3", "d3.reason"}


def test_results_can_be_read_again_and_are_capped(store: Store, paths: Paths) -> None:
    """A15: a completion record can be re-read."""
    assert store.read_result("x") is None
    for number in range(4):
        store.write_result(f"r{number}", {"rc": number, "reason": None})
        os.utime(paths.results / f"r{number}.json", (number, number))
    assert store.read_result("r3") == {"rc": 3, "reason": None}
    assert store.read_result("r0") is None
    assert mode(paths.results / "r3.json") == 0o600


def test_read_result_reports_a_damaged_record(store: Store, paths: Paths) -> None:
    store.write_result("x", {})
    (paths.results / "x.json").write_text("{")
    with pytest.raises(OSError, match="no result record"):
        store.read_result("x")


def test_what_was_just_written_stays_when_the_clock_was_put_back(store: Store, paths: Paths) -> None:
    """Else a drop's record would be gone before its command reads it, and a success look like a failure."""
    for number in range(6):
        (paths.inbox / f"d{number}").write_bytes(b"x")
        (paths.inbox / f"f{number}").write_bytes(b"x")
        archive(store, f"d{number}")
        store.fail(f"f{number}", "why")
        store.write_result(f"d{number}", {"rc": 0})
        assert store.already_processed(f"d{number}")
        assert (paths.failed / f"f{number}.reason").exists()
        assert store.read_result(f"d{number}") == {"rc": 0}
        for path in (*paths.processed.iterdir(), *paths.failed.iterdir(), *paths.results.iterdir()):
            os.utime(path, (2**32, 2**32))


def test_a_record_that_the_disk_does_not_take_is_in_memory_until_one_is_taken(paths: Paths) -> None:
    store = Store(paths)
    store.write_result(NAME, {"rc": 0, "number": 1})
    results = paths.results
    results.rename(results.with_name("away"))
    results.write_text("no directory")
    store.write_result(NAME, {"rc": 1, "number": 2})
    results.unlink()
    results.with_name("away").rename(results)
    assert store.read_result(NAME) == {"rc": 1, "number": 2}, "the newer one"
    store.write_result(NAME, {"rc": 0, "number": 3})
    assert store.read_result(NAME) == {"rc": 0, "number": 3}
    assert list(paths.unwritten.iterdir()) == []
