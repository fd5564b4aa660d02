"""Finishes the image with its own Python and nothing else: the final stage may have no shell."""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HOME = Path("/opt/partner-bridge")
UNUSED = re.compile(r"/(tests?|idlelib|lib2to3|tkinter|turtledemo|(site|dist)-packages)/")
"""Of the standard library: what the bridge never imports, and what belongs to others."""


def main() -> None:
    """Links the bridge to the Python of this stage, compiles both, and sees it start."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not (HOME / "lib" / version).is_dir():
        built = ", ".join(path.name for path in HOME.glob("lib/python*"))
        sys.exit(f"BASE_IMAGE has {version}, BUILD_IMAGE {built}. Choose two of one version.")
    link(Path(sys.executable))
    remove_pip()
    # The root is read-only later, and many images come without bytecode: each start would compile everything
    # anew. By hash, so that the time of a copy does not matter.
    for folder, skipped in ((Path(sysconfig.get_path("stdlib")), UNUSED), (HOME / "lib", None)):
        compileall.compile_dir(
            folder, quiet=2, rx=skipped, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
    check()


def link(python: Path) -> None:
    """Makes a virtual environment of the folder, without the scripts for shells that `venv` adds."""
    (HOME / "bin" / "python").symlink_to(python)
    (HOME / "pyvenv.cfg").write_text(f"home = {python.parent}\ninclude-system-site-packages = false\n")


def remove_pip() -> None:
    """Removes the pip that many bases bring."""
    scripts = Path(sysconfig.get_path("scripts"))
    shutil.rmtree(Path(sysconfig.get_path("stdlib"), "ensurepip"), ignore_errors=True)
    for path in Path(sysconfig.get_path("purelib")).glob("pip*"):
        shutil.rmtree(path)
    for path in scripts.glob("pip*"):
        if re.fullmatch(r"pip[\d.]*", path.name):
            path.unlink()


def check() -> None:
    """Ends the build where the program does not start, or is not of the version on the label."""
    program = HOME / "bin" / "partner-bridge"
    told = subprocess.run([program, "--version"], stdout=subprocess.PIPE, check=True)  # noqa: S603 - our own
    version = told.stdout.decode().split()[-1]
    if version != os.environ["VERSION"]:
        sys.exit(f"The label would say {os.environ['VERSION']}. Build with VERSION={version}.")


main()
