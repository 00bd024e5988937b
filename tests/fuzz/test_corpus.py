"""Replays of the saved inputs of fuzz targets; those in Rust are replayed by a test in Rust."""

import tempfile
from pathlib import Path

import pytest

from nanospan_fuzz.replay import replay, warm_up
from nanospan_fuzz.targets import load, names

CORPUS = Path(__file__).parents[1] / "corpus"


@pytest.mark.parametrize("name", names())
def test_the_target_holds_for_every_saved_input(name, tmp_path, monkeypatch):
    """A target's statement holds for every saved input, within the limits on time and memory."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    target = load(name)
    warm_up(target)
    saved = sorted((CORPUS / name).iterdir())
    assert saved
    for path in saved:
        replay(target, path.read_bytes())


def test_saved_inputs_are_few_and_small():
    """All saved inputs together take less than 200 KB."""
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 200_000
