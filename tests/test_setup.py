"""The set-up script on machines it cannot be run on here: other tools are put before it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    shutil.which("sh") is None or os.name == "nt", reason="needs a POSIX shell"
)


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def machine(
    tmp_path: Path, *, debian: bool = True, uid: int = 0, installed: str = "", venv: bool = True
) -> dict[str, str]:
    """Return the environment of a made-up machine: only these tools are on its PATH."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "dirname", "grep", "mktemp", "rm", "printf", "env", "cat"):
        (tools / name).symlink_to(str(shutil.which(name)))
    program(tools, "id", f"echo {uid}")
    if debian:
        program(tools, "dpkg", "")
        program(tools, "apt-get", "exit 0")
        program(
            tools,
            "dpkg-query",
            f'for last; do :; done; case " {installed} " in *" $last "*) echo installed;; '
            "*) exit 1;; esac",
        )
    program(
        tools,
        "python3",
        f'case "$2" in *ensurepip*) exit {int(not venv)};; *%d.%d*) echo 3.11;; esac',
    )
    return {"PATH": str(tools)}


def commands(environment: dict[str, str], tmp_path: Path) -> tuple[list[str], str]:
    done = subprocess.run(
        ["sh", str(ROOT / "scripts" / "setup.sh"), "--dry-run", str(tmp_path / "env")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.splitlines(), done.stderr


def test_root_on_a_bare_debian_gets_libraries_environment_and_package(tmp_path: Path) -> None:
    ran, _ = commands(machine(tmp_path), tmp_path)
    update, install, venv, pip = ran
    assert update.endswith("update")
    assert "--no-install-recommends" in install
    assert {"libegl1", "xvfb", "libxcb-cursor0", "libxkbcommon-x11-0"} <= set(install.split())
    assert venv == f"python3 -m venv {tmp_path}/env"
    assert pip.endswith("-e .[all,test,dev,docs]")


def test_only_what_is_missing_is_installed(tmp_path: Path) -> None:
    there = "libegl1 libgl1 libglib2.0-0 libfontconfig1 libdbus-1-3 libxkbcommon0 xvfb"
    ran, _ = commands(machine(tmp_path, installed=there), tmp_path)
    install = next(line for line in ran if "install" in line)
    assert not set(there.split()) & set(install.split())
    assert "libxcb-shape0" in install


def test_without_root_the_command_is_printed_and_nothing_installed(tmp_path: Path) -> None:
    ran, said = commands(machine(tmp_path, uid=1000), tmp_path)
    assert not any("apt-get" in line for line in ran)
    assert "sudo apt-get install libegl1" in said


def test_on_other_systems_apt_is_not_touched(tmp_path: Path) -> None:
    ran, said = commands(machine(tmp_path, debian=False), tmp_path)
    assert len(ran) == 2
    assert "not Debian" in said


def test_a_missing_venv_module_comes_by_apt_for_root(tmp_path: Path) -> None:
    ran, _ = commands(machine(tmp_path, venv=False), tmp_path)
    assert any(line.endswith("--no-install-recommends python3.11-venv") for line in ran)
    assert f"python3 -m venv --clear {tmp_path}/env" in ran


def test_a_missing_venv_module_is_replaced_by_virtualenv_otherwise(tmp_path: Path) -> None:
    ran, _ = commands(machine(tmp_path, venv=False, uid=1000), tmp_path)
    assert any("-m pip install --quiet --target" in line and "virtualenv" in line for line in ran)
    assert any(line.endswith(f"-m virtualenv --clear {tmp_path}/env") for line in ran)


def test_an_old_python_is_named(tmp_path: Path) -> None:
    environment = machine(tmp_path)
    program(tmp_path / "bin", "python3", "exit 1")
    done = subprocess.run(
        ["sh", str(ROOT / "scripts" / "setup.sh"), "--dry-run"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Python 3.11 or newer was not found" in done.stderr
