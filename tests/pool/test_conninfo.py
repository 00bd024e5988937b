"""Tests for masking, comparing and validating connection strings.

Properties: neither the masked form, `repr` and key of a valid connection string nor the error for
an invalid connection string contains a secret. The key does not depend on the spelling.
"""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanospan.pool import ConninfoError, mask_conninfo
from nanospan.pool.conninfo import UNREADABLE, Target

MARK = "S3cr3tM4rk"
passwords = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12
).map(lambda noise: f"{noise}{MARK}{noise[::-1]}")


@pytest.mark.parametrize(
    ("conninfo", "masked"),
    [
        ("postgresql://u:pw@h:5432/d", "postgresql://u:***@h:5432/d"),
        ("postgres://u:p%40w@h/d?sslmode=disable", "postgres://u:***@h/d?sslmode=disable"),
        ("postgresql://u:@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p?w#x:y@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p@h1:1,h2:2/d", "postgresql://u:***@h1:1,h2:2/d"),
        ("postgresql://u:p@[::1]:5/d", "postgresql://u:***@[::1]:5/d"),
        ("postgresql://u@h/d?password=pw", "postgresql://u@h/d?password=***"),
        ("postgresql://h/d?user=u&pass%77ord=pw", "postgresql://h/d?user=u&pass%77ord=***"),
        (
            "postgresql://h/d?passfile=/p&sslpassword=x",
            "postgresql://h/d?passfile=***&sslpassword=***",
        ),
        ("postgresql://h/d?application_name=a@b", "postgresql://h/d?application_name=a@b"),
        ("postgresql://h", "postgresql://h"),
        ("postgresql://", "postgresql://"),
        ("host=h user=u password=pw", "host=h password=*** user=u"),
        ("password = 'p w' host='h'", "host=h password=***"),
        ("passfile=/p sslpassword=x host=h", "host=h passfile=*** sslpassword=***"),
        ("application_name='my app' password=''", "application_name='my app' password=***"),
        ("", ""),
        ("postgresql://u:p@w@h/d", "<unreadable connection string>"),
        ("password=two words", "<unreadable connection string>"),
    ],
)
def test_masking(conninfo: str, masked: str) -> None:
    """Masking replaces the secrets in a connection string and keeps the rest as written."""
    assert mask_conninfo(conninfo) == masked


@given(passwords)
def test_no_password_in_masked_urls(password: str) -> None:
    """No representation of a URL shows its password if special characters are percent-encoded."""
    quoted = quote(password, safe="")
    for url in (f"postgresql://user:{quoted}@host/db", f"postgresql://host/db?password={quoted}"):
        target = Target.parse(url)
        assert target.params["password"] == password
        for shown in (target.masked, repr(target), target.key, str(target.database)):
            assert MARK not in shown


@given(passwords)
def test_no_password_in_masked_pairs(password: str) -> None:
    """No representation of key=value pairs shows a quoted password."""
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")
    target = Target.parse(f"host=h password='{quoted}' sslpassword='{quoted}'")
    assert target.params["password"] == password
    for shown in (target.masked, repr(target), target.key, str(target.database)):
        assert MARK not in shown


@given(passwords, st.sampled_from(["postgresql://user:{}@host/db", "host=h password={}", "{}"]))
def test_no_password_in_any_outcome(password: str, template: str) -> None:
    """A password inserted without quoting appears neither in the masked form nor in the error."""
    conninfo = template.format(password)
    assert MARK not in mask_conninfo(conninfo)
    if mask_conninfo(conninfo) == UNREADABLE:
        with pytest.raises(ConninfoError) as caught:
            Target.parse(conninfo)
        assert MARK not in str(caught.value)
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("password", ["p@ss", "a/b@c", "x@", "/p", "a/?application_name=b"])
def test_misread_passwords(password: str) -> None:
    """A URL is rejected if libpq would read part of its unquoted password as a host."""
    with pytest.raises(ConninfoError) as caught:
        Target.parse(f"postgresql://user:{password}@host/db")
    assert password not in str(caught.value).replace("'/'", "").replace("'@'", "")


@pytest.mark.parametrize("address", ["host", "host:5432", ""])
def test_misread_queries(address: str) -> None:
    """A URL is rejected if libpq would read its query as credentials because of an "@"."""
    with pytest.raises(ConninfoError) as caught:
        Target.parse(f"postgresql://{address}?user=u&password=x@{MARK}")
    assert MARK not in str(caught.value)
    assert Target.parse("postgresql://u:a?b=c@host/db").params["password"] == "a?b=c"


def test_same_parameters_same_key() -> None:
    """A target's key depends on its parameters, not on how the connection string spells them."""
    spellings = [
        "postgresql://u:p@h:5433/d?application_name=a&sslmode=disable",
        "postgres://u:p@h:5433/d?sslmode=disable&application_name=a",
        "host=h port=5433 dbname=d user=u password=p application_name=a sslmode=disable",
        "sslmode=disable dbname=d user='u' password=p application_name=a port=5433 host=h",
    ]
    assert len({Target.parse(spelling).key for spelling in spellings}) == 1
    assert Target.parse(spellings[0].replace(":p@", ":q@")).key != Target.parse(spellings[0]).key


def test_database_identity() -> None:
    """A database's identity consists of server, name and role, without password and options."""
    base = Target.parse("host=h dbname=d user=u").database
    assert Target.parse("host=h dbname=d user=u password=p application_name=a").database == base
    assert Target.parse("host=h user=d dbname=d").database != base
    assert Target.parse("host=h user=u").database == Target.parse("host=h user=u dbname=u").database


def test_redaction() -> None:
    """Secrets are masked in messages, except a secret that equals a visible parameter."""
    target = Target.parse("host=h user=me password=s3cr3t sslpassword=me")
    assert target.redact("password s3cr3t of me") == "password *** of me"


@pytest.mark.parametrize("conninfo", [None, 5, b"postgresql://h"])
def test_wrong_type(conninfo: object) -> None:
    """A connection string that is not a `str` raises a TypeError."""
    with pytest.raises(TypeError, match="a connection string must be a str"):
        Target.parse(conninfo)  # type: ignore[arg-type]


def test_a_url_inside_a_pair_is_hidden() -> None:
    """The password in a URL given as `dbname` is masked."""
    assert "s3cret" not in mask_conninfo("dbname=postgresql://u:s3cret@h/db")
