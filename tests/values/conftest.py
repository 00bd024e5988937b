"""Fixtures for the tests of files."""

import os

import pytest


@pytest.fixture(params=["unnamed", "named"])
def kind(request, monkeypatch):
    """Run a test with unnamed temporary files, and as on a file system that has none."""
    if request.param == "named":
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_CREAT | os.O_EXCL)
    return request.param
