"""Nothing leaves the machine: real sockets, in this process and in one that it starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from napari_normative.cli.common import guarded
from napari_normative.cli.program import program
from napari_normative.errors import NetworkError
from napari_normative.offline import offline

FAR = "192.0.2.1"
"""An address that RFC 5737 keeps for documentation: nobody has it."""


@pytest.fixture
def port() -> Iterator[int]:
    """A port on loopback that somebody listens to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def udp() -> socket.socket:
    return socket.socket(type=socket.SOCK_DGRAM)


@pytest.mark.parametrize(
    ("code", "attempt"),
    [
        ("NET-001", lambda: socket.create_connection((FAR, 80), 1)),
        ("NET-001", lambda: socket.create_connection(("example.org", 80), 1)),
        ("NET-001", lambda: socket.getaddrinfo("example.org", 80)),
        ("NET-001", lambda: socket.gethostbyname("example.org")),
        ("NET-001", lambda: socket.gethostbyaddr(FAR)),
        ("NET-001", lambda: socket.getnameinfo((FAR, 80), 0)),
        ("NET-001", lambda: udp().sendto(b"x", (FAR, 53))),
        ("NET-001", lambda: udp().connect((FAR, 53))),
        ("NET-001", lambda: urllib.request.urlopen("http://example.org", timeout=1)),
        ("NET-002", lambda: socket.socket().bind(("", 0))),
        ("NET-002", lambda: socket.create_server(("0.0.0.0", 0))),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_leads_beyond_this_machine_is_refused(code: str, attempt: Callable[[], Any]) -> None:
    with offline(), pytest.raises(OSError, match=code):
        attempt()


def test_this_machine_stays_open(port: int) -> None:
    with offline():
        for host in ("127.0.0.1", "localhost"):
            socket.create_connection((host, port), 5).close()
        socket.create_server(("127.0.0.1", 0)).close()
        assert socket.getaddrinfo(socket.gethostname(), 80)
        one, other = socket.socketpair()
        one.close(), other.close()


def test_the_search_for_a_free_port_of_trainings_is_allowed() -> None:
    from lightning.fabric.plugins.environments.lightning import find_free_network_port

    with offline():
        assert find_free_network_port() > 0


def test_afterwards_and_within_online_everything_is_allowed() -> None:
    with offline(), offline(False):
        assert os.environ["NAPARI_NORMATIVE_OFFLINE"] == "0"
        socket.create_server(("", 0)).close()
    socket.create_server(("", 0)).close()
    assert "NAPARI_NORMATIVE_OFFLINE" not in os.environ


def test_a_program_that_is_started_refuses_too_and_reaches_this_one(port: int) -> None:
    code = (
        "import socket, napari_normative\n"
        f"socket.create_connection(('127.0.0.1', {port}), 5).close()\n"
        f"try: socket.create_connection(('{FAR}', 80), 1)\n"
        "except PermissionError as error: print(error)"
    )
    with offline():
        child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert child.stdout.startswith("[NET-001]"), child.stderr


def test_a_command_is_offline_unless_asked_and_says_the_remedy() -> None:
    app = program()

    @app.command()
    @guarded
    def phone(context: typer.Context) -> None:
        """Look somebody up."""
        socket.create_server(("0.0.0.0", 0)).close()

    @app.command()
    def other(context: typer.Context) -> None:
        """Make it a program of several commands."""

    refused = CliRunner().invoke(app, ["phone"])
    assert refused.exit_code == 1
    assert "[NET-002]" in refused.stderr
    assert "--online" in refused.stderr
    assert CliRunner().invoke(app, ["--online", "phone"]).exit_code == 0
    env = {"NAPARI_NORMATIVE_OFFLINE": "0"}
    assert CliRunner().invoke(app, ["phone"], env=env).exit_code == 0
    env = {"NAPARI_NORMATIVE_OFFLINE": "1"}
    assert CliRunner().invoke(app, ["phone"], env=env).exit_code == 1


def test_the_refusal_holds_in_threads_and_survives_a_pickle() -> None:
    import pickle

    caught: list[BaseException] = []

    def attempt() -> None:
        try:
            socket.create_connection((FAR, 80), 1)
        except NetworkError as error:
            caught.append(error)

    with offline():
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    (error,) = caught
    assert isinstance(error, NetworkError)
    assert pickle.loads(pickle.dumps(error)).code == "NET-001"


def test_a_local_cluster_works(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the extra cluster")
    with (
        offline(),
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            local_directory=str(tmp_path),
            protocol="tcp",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert client.submit(sum, [1, 2]).result(timeout=30) == 3
