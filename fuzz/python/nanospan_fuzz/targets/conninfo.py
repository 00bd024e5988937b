"""Connection strings: parsing, masking and explaining them without revealing a password."""

from __future__ import annotations

import re
from urllib.parse import unquote

from nanospan.pool.addresses import _is_name, _places
from nanospan.pool.config import ConnectionPoolConfig
from nanospan.pool.conninfo import _SECRET, UNREADABLE, Target, mask_conninfo, with_parameters
from nanospan.pool.endpoint import Endpoint
from nanospan.pool.errors import ConninfoError
from nanospan.pool.vector_types import DatabaseTypes
from nanospan_fuzz.inputs import SECRET, as_text, check_message

SHORTEST = 4
"""The length from which a secret is unlikely to occur elsewhere by accident."""

# A name in a query may be shown, but not what follows an unescaped "?" or "&" in a password.
_IN_A_NAME = re.compile(rf"[?&][\w.%-]*{SECRET}[\w.%-]*=[^@]*$", re.ASCII)


def target(data: bytes) -> None:
    """Any text gives a ConninfoError, or a target; neither reveals a password."""
    text = as_text(data)
    masked = mask_conninfo(text)
    try:
        found = Target.parse(text)
    except ConninfoError as error:
        check_message(error)
        assert masked == UNREADABLE
        assert SECRET not in str(error) or _IN_A_NAME.search(text), f"{error} reveals a password"
        assert error.__context__ is None
        return
    assert masked == found.masked
    endpoint = Endpoint(found, ConnectionPoolConfig(), DatabaseTypes("fuzz"))
    for name in _SECRET:
        secret = found.params.get(name, "")
        visible = [value for key, value in found.params.items() if key not in _SECRET]
        if len(secret) < SHORTEST or any(secret in value for value in visible):
            continue
        if text.count(secret) > 1:  # it is also a part of something else, such as the scheme
            continue
        for shown in (masked, unquote(masked), repr(found), endpoint.redact(f"failed: {secret}")):
            assert secret not in shown, f"{shown} reveals {name}={secret}"
    assert found == Target.parse(text)
    assert len(found.key) == len(found.rotating().key)
    assert len(found.effective) > 1
    assert len(found.database) > 1
    str(found.session_attrs)
    endpoint.arguments()
    for place in _places(found):
        assert not (_is_name(place) and place.address)
    again = with_parameters(text, {"application_name": "fuzz"})
    assert again.params["application_name"] == "fuzz"
