"""Test that the commands in docs/prometheus.md print the output shown there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from servers import free_port

PAGE = Path(__file__).parents[2] / "docs" / "prometheus.md"
PORT = "9464"


def _commands(text):
    """Yield each command in ``text`` with the output shown below it."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, output = re.fullmatch(r"((?:.*\\\n)*.*\n)((?s:.*))", part).groups()
            yield command.strip(), output


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_of_the_page_print_the_output_shown(tmp_path):
    """The page's commands print the output shown on it, except that the port differs."""
    text = PAGE.read_text()
    [program] = [
        block
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        if "nightly.snapshot" in block
    ]
    (tmp_path / "nightly.py").write_text(program)
    port = str(free_port())
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    options = {"cwd": tmp_path, "env": os.environ | {"PATH": path}, "text": True}
    server = None
    try:
        for command, output in _commands(text):
            here, expected = command.replace(PORT, port), output.replace(PORT, port)
            if here.endswith("&"):
                arguments = [*here.removesuffix("&").split(), "--port", port]
                server = subprocess.Popen(arguments, stderr=subprocess.PIPE, **options)
                assert server.stderr.readline() == expected
            else:
                done = subprocess.run(
                    here, shell=True, capture_output=True, check=False, timeout=60, **options
                )
                assert done.stdout == expected, done.stderr
    finally:
        if server is not None:
            server.terminate()
            server.communicate(timeout=60)
    assert server is not None
