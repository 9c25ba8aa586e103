# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import time

import pytest

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.aggregate import (
    FileStep,
    ScriptStep,
    parse_aggregate,
)
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._databag.errors import DropError

HEAD = b"#Apache CloudStack Virtual Router Config File\n<version>\n1.0\n</version>\n"
NAME = "VR-1.cfg"


def file_step(name: bytes, content: bytes) -> bytes:
    return b"<file>\n/var/cache/cloud/" + name + b"\n" + content + b"\n</file>\n"


def script_step(line: bytes) -> bytes:
    return b"<script>\n" + line + b"\n</script>\n"


def test_parse_aggregate_returns_the_steps_in_order() -> None:
    data = HEAD + file_step(b"ips.json.1", b"{}") + script_step(b"/opt/cloud/bin/update_config.py ips.json.1 false")
    steps = parse_aggregate(NAME, data)
    assert steps == [
        FileStep("/var/cache/cloud/ips.json.1", b"{}"),
        ScriptStep("/opt/cloud/bin/update_config.py", ["ips.json.1", "false"]),
    ]
    assert isinstance(steps[0], FileStep)
    assert steps[0].name == "ips.json.1"


@pytest.mark.parametrize(
    "content",
    [
        b'{"password":"a b  c"}',
        b'{"password":"*?[x] $(id)`id`;|&<> \\"\'"}',
        b"  leading and trailing  ",
        b"\t\r",
        b"two\nlines",
        b"\xff\xfe\0",
        b"",
        b"x</file>",
        "pässwört€".encode(),
    ],
)
def test_parse_aggregate_keeps_bytes_as_sent(content: bytes) -> None:
    """The original squeezes blanks and expands `*`."""
    data = HEAD + file_step(b"x.json", content) + file_step(b"y.json", b"next")
    assert parse_aggregate(NAME, data) == [
        FileStep("/var/cache/cloud/x.json", content),
        FileStep("/var/cache/cloud/y.json", b"next"),
    ]


def test_parse_aggregate_takes_an_empty_file_step() -> None:
    data = HEAD + b"<file>\n/var/cache/cloud/x\n</file>\n"
    assert parse_aggregate(NAME, data) == [FileStep("/var/cache/cloud/x", b"")]


def test_parse_aggregate_needs_no_last_line_end() -> None:
    assert len(parse_aggregate(NAME, (HEAD + file_step(b"x", b"{}"))[:-1])) == 1
    assert len(parse_aggregate(NAME, (HEAD + script_step(b"/opt/cloud/bin/a"))[:-1])) == 1
    assert parse_aggregate(NAME, HEAD + b"\n\n") == []


GOOD = file_step(b"x.json", b"{}")


@pytest.mark.parametrize(
    ("data", "path", "expected"),
    [
        (b"", "head", "a comment line"),
        (b"junk", "head", "a comment line"),
        (b"#x\n<version>\n2.0\n</version>\n", "head", "1.0"),
        (b"#x\n<version>\n", "head", "1.0"),
        (HEAD + b"<files>\n", "step 1", "<file> or <script>"),
        (HEAD + GOOD + b"junk\n", "step 2", "<file> or <script>"),
        (HEAD + GOOD + b"<file>\n", "step 2", "the path of a file in /var/cache/cloud"),
        (HEAD + file_step(b"../../etc/passwd", b""), "step 1", "the path of a file in /var/cache/cloud"),
        (HEAD + file_step(b"..", b""), "step 1", "the path of a file in /var/cache/cloud"),
        (HEAD + file_step(b"a..b", b""), "step 1", "the path of a file in /var/cache/cloud"),
        (HEAD + file_step(b"sub/x", b""), "step 1", "the path of a file in /var/cache/cloud"),
        (HEAD + b"<file>\n/etc/passwd\nx\n</file>\n", "step 1", "the path of a file in /var/cache/cloud"),
        (HEAD + b"<file>\n/var/cache/cloud/x\ncontent\n", "step 1", "</file>"),
        (HEAD + GOOD + GOOD + b"<script>\n", "step 3", "a command line"),
        (HEAD + script_step(b"/bin/sh -c id"), "step 1", "a command in /opt/cloud/bin"),
        (HEAD + script_step(b"/opt/cloud/bin/../../../bin/sh"), "step 1", "a command in /opt/cloud/bin"),
        (HEAD + script_step(b"/opt/cloud/bin/x;id"), "step 1", "a command in /opt/cloud/bin"),
        (HEAD + script_step(b""), "step 1", "a command in /opt/cloud/bin"),
        (HEAD + script_step("/opt/cloud/bin/ü".encode()), "step 1", "a command line"),
        (HEAD + b"<script>\n/opt/cloud/bin/x\nmore\n</script>\n", "step 1", "</script>"),
    ],
)
def test_parse_aggregate_names_the_step(data: bytes, path: str, expected: str) -> None:
    with pytest.raises(DropError) as caught:
        parse_aggregate(NAME, data)
    assert (caught.value.file, caught.value.path, caught.value.expected) == (NAME, path, expected)


def test_parse_aggregate_of_many_steps_is_linear() -> None:
    data = HEAD + b"".join(file_step(b"x%d" % number, b"{}" * 300) for number in range(20_000))
    start = time.process_time()
    assert len(parse_aggregate(NAME, data)) == 20_000
    assert time.process_time() - start < 5
