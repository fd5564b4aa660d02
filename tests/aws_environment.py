"""An environment in which AWS's tools find nothing: no variable, no file, no proxy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def clear_aws(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Take away every variable that decides where AWS's requests go, and how they are signed.

    AWS's configuration files are `config` and `credentials` in the folder; they need not exist.
    """
    for name in list(os.environ):
        if name.startswith("AWS_") or name.upper().endswith(("_PROXY", "_CA_BUNDLE")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
