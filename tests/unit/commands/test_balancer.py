# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""get_haproxy_stats.sh."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Router

STATISTICS = """\
# pxname,svname,qcur,qmax,scur,smax,status,
192_0_2_11-80,FRONTEND,,,30,70,OPEN,
192_0_2_11-80,192_0_2_11-80_0,0,0,2,5,UP,
192_0_2_11-80,192_0_2_11-80_1,0,0,3,5,UP 1/2,
192_0_2_11-80,192_0_2_11-80_2,0,0,3,5,UP,
192_0_2_11-80,192_0_2_11-80_3,0,0,50,50,DOWN,
192_0_2_11-80,192_0_2_11-80_4,0,0,50,50,MAINT,
192_0_2_11-80,192_0_2_11-80_5,0,0,50,50,DRAIN,
192_0_2_11-80,192_0_2_11-80_6,0,0,50,50,no check,
192_0_2_11-80,192_0_2_11-80_7,0,0,50,50,DOWN 1/2,
192_0_2_11-80,BACKEND,0,0,8,5,UP,
192_0_2_11-8080,FRONTEND,,,9,9,OPEN,
192_0_2_11-8080,192_0_2_11-8080_0,0,0,9,9,UP,
192_0_2_11-81,FRONTEND,,,,9,OPEN,
192_0_2_11-81,192_0_2_11-81_0,0,0,,9,UP,
192_0_2_11-82,FRONTEND,,,7,9,OPEN,
192_0_2_11-82,192_0_2_11-82_0,0,0,7,9,DOWN,
192_0_2_11-82,BACKEND,0,0,7,9,UP,

"""


@pytest.fixture
def balancing(router: Router) -> Router:
    """Return a router whose haproxy counts; socat notes what it is asked."""
    router.put("/stat.csv", STATISTICS)
    asked = router.path("/asked.txt")
    router.tool("socat", f'echo "$@" >{asked}; cat >>{asked}; cat {router.path("/stat.csv")}')
    return router


@pytest.mark.parametrize(
    ("port", "line"), [("80", "2\n"), ("8080", "9\n"), ("81", "0\n"), ("82", "0\n"), ("443", "0\n")]
)
def test_average_of_the_connections_of_the_servers_that_are_up(balancing: Router, port: str, line: str) -> None:
    done = balancing.run("get_haproxy_stats.sh", "192.0.2.11", port)
    assert (done.returncode, done.stdout, done.stderr) == (0, line, "")
    socket = f"UNIX-CONNECT:{balancing.path('/run/haproxy/admin.sock')}"
    assert balancing.path("/asked.txt").read_text() == f"- {socket}\nshow stat\n"


@pytest.mark.parametrize("args", [(), ("192.0.2.11",), ("192.0.2.11", "x"), ("host", "80"), ("192.0.2.11", "80", "x")])
def test_usage(balancing: Router, args: tuple[str, ...]) -> None:
    assert "usage: get_haproxy_stats.sh <public ip> <port>" in balancing.fails("get_haproxy_stats.sh", *args)
    assert not balancing.path("/asked.txt").exists()


def test_a_stopped_haproxy_is_an_error(router: Router) -> None:
    router.tool("socat", "echo refused >&2; exit 1")
    assert "haproxy does not answer" in router.fails("get_haproxy_stats.sh", "192.0.2.11", "80")
