"""A folder with a Python for 64-bit ARM, and what gpucnn needs there, from Debian's packages and PyPI's wheels alone.

`python arm_machine.py FOLDER` makes it, some 350 MB, and `FOLDER/python` runs it, under qemu-user: programs for another
processor, on this kernel. Nothing outside of the folder changes, and nobody needs to be root.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DEBIAN_PACKAGES = ("python3", "libpython3-stdlib", "libstdc++6")
TEST_PACKAGES = ("pytest", "hypothesis")
GLIBC_TAGS = ("2_28", "2_27", "2_17")
"""Wheels are named after the oldest C library that they work with."""

LAUNCHER = """#!/bin/sh
export PYTHONPATH="{site}${{PYTHONPATH:+:$PYTHONPATH}}" PYTHONPYCACHEPREFIX="{folder}/bytecode"
exec qemu-aarch64 -L "{system}" "{system}/usr/bin/python3" "$@"
"""
SAME_LAUNCHER = """import sys
sys.executable = {launcher!r}  # for tests that start another process
"""


def make(folder: Path) -> Path:
    """Fill the folder, where that was not done before; the program that runs its Python."""
    system, site, launcher = folder / "system", folder / "site", folder / "python"
    if launcher.exists():
        return launcher
    site.mkdir(parents=True, exist_ok=True)
    unpack_debian_packages(folder / "apt", system)
    launcher.write_text(LAUNCHER.format(folder=folder, site=site, system=system))
    launcher.chmod(0o755)
    (site / "sitecustomize.py").write_text(SAME_LAUNCHER.format(launcher=str(launcher)))
    try:
        install_wheels(site, output_of([str(launcher), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]))
    except BaseException:
        launcher.unlink()  # it stands for a folder that is complete
        raise
    return launcher


def unpack_debian_packages(apt: Path, system: Path) -> None:
    """Download packages and all that they need with an `apt` of our own, which knows of ARM alone, and unpack them."""
    for part in ("state/lists/partial", "cache/archives/partial"):
        (apt / part).mkdir(parents=True, exist_ok=True)
    (apt / "state" / "status").touch()  # nothing is installed
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "",
        "Dir::State": apt / "state",
        "Dir::State::status": apt / "state" / "status",
        "Dir::Cache": apt / "cache",
    }
    command = ["apt-get", "-qq", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
    subprocess.run([*command, "update"], check=True)
    subprocess.run(
        [*command, "install", "--yes", "--no-install-recommends", "--download-only", *DEBIAN_PACKAGES], check=True
    )
    for package in sorted((apt / "cache" / "archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", package, system], check=True)


def install_wheels(site: Path, version: str) -> None:
    """What gpucnn needs, with llvmlite, and what its tests need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = [*project["dependencies"], *project["optional-dependencies"]["fast"]]
    tests = [name for name in project["optional-dependencies"]["dev"] if name.startswith(TEST_PACKAGES)]
    platforms = [word for tag in GLIBC_TAGS for word in ("--platform", f"manylinux_{tag}_aarch64")]
    where = ["--target", site, "--python-version", version, "--only-binary", ":all:", *platforms]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *where, *packages, *tests], check=True)


def output_of(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ)).stdout.strip()


if __name__ == "__main__":
    print(make(Path(sys.argv[1]).resolve()))
