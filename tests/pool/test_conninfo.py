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


TEMPLATES = (
    "postgresql://user:{}@host/db",
    "postgresql://user:{}@host/db?schema=public",
    "postgresql://host/db?password={}&schema=public",
    "postgresql+asyncpg://user:{}@host/db",
    "host=h password={}",
    "{}",
)


@given(passwords, st.sampled_from(TEMPLATES))
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


@pytest.mark.parametrize("name", [f"x&{MARK}", f"@{MARK}", f"{MARK}", f"%40{MARK}"])
def test_no_password_as_the_name_of_a_parameter(name: str) -> None:
    """A part of a password that libpq would read as a parameter is not shown."""
    for url in (f"postgresql://h/d?password={name}=1&x=y", f"postgresql://u:p?{name}=1@h/d?x=y"):
        with pytest.raises(ConninfoError) as caught:
            Target.parse(url)
        assert MARK not in str(caught.value)


@pytest.mark.parametrize(
    ("conninfo", "message"),
    [
        ("postgresql+asyncpg://u:p@h/d", "the scheme postgresql+asyncpg:// is SQLAlchemy's; write"),
        ("postgres+psycopg2://h/d", "the scheme postgres+psycopg2:// is SQLAlchemy's; write postg"),
        ("jdbc:postgresql://h/d?user=u", "the scheme jdbc: is Java's; remove jdbc: before"),
        ("mysql://h/d", "the scheme mysql: is MySQL's, and nanospan.pool connects to PostgreSQL"),
        ("postgis://h/d", "the scheme postgis: is Django's; write postgresql://"),
        ("POSTGRESQL://h/d", "must begin with postgresql:// in lower case"),
        ("ftp://h/d", "must begin with postgresql:// or postgres://, got another scheme"),
        ('"postgresql://h/d"', "must begin with postgresql://; remove what is before it"),
        ("psql postgresql://h/d", "must begin with postgresql://; remove what is before it"),
        ("DATABASE_URL=postgresql://h/d x", "must begin with postgresql://; remove what is before"),
        (
            "postgresql://h/d?schema=public",
            "the URL: 'schema' (write options=-csearch_path%3DNAME)",
        ),
        ("postgresql://h/d?ssl=false", "'ssl' (write sslmode=require or sslmode=disable)"),
        (
            "postgresql://h/d?sslmod=x&pgbouncer=true",
            "'sslmod' (correct or remove it), 'pgbouncer'",
        ),
        *(
            (f"postgresql://h/d?{parameter}", "(remove it, and pass prepare_threshold=None in")
            for parameter in ("pgbouncer=true", "statement_cache_size=0", "prepareThreshold=0")
        ),
        ("host=h prepare_threshold=0", "'prepare_threshold' (pass it as a pool setting"),
        ("postgresql://u:p@h/d?pool_size=5", "'pool_size' (pass it as a pool setting, in config)"),
        ("postgresql://h/d?sslmode", "each parameter in the URL's query must be name=value"),
        ("postgresql://h/d?options=-c a=b", "has a second '='; write '=' in a value as %3D"),
        ("postgresql://u:100%@h/d", "has a '%' that is not followed by the two hexadecimal digits"),
        ("postgresql://u:p@[::1/d", "has a '[' without a ']'; put an IPv6 address in both"),
        ("postgresql://h/d?application_name=a b", "contains a space; write it as %20"),
        ("memory", "must be a URL that begins with postgresql://, or key=value pairs"),
        ("host=h database=d", "of the connection string: 'database' (write dbname)"),
        ("host=h password=two words", "quote values that contain spaces in key=value pairs"),
    ],
)
def test_explanations(conninfo: str, message: str) -> None:
    """The error names the cause and what to write; the connection string is not quoted."""
    with pytest.raises(ConninfoError) as caught:
        Target.parse(conninfo)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("remedy", ["ssl=true", "options=-csearch_path%3Dpublic"])
def test_remedies(remedy: str) -> None:
    """Libpq accepts what the errors say to write."""
    assert Target.parse(f"postgresql://h/d?{remedy}").params["dbname"] == "d"


@pytest.mark.parametrize("address", ["host", "host:5432", ""])
def test_misread_queries(address: str) -> None:
    """A URL is rejected if libpq would read its query as credentials because of an "@"."""
    with pytest.raises(ConninfoError) as caught:
        Target.parse(f"postgresql://{address}?user=u&password=x@{MARK}")
    assert MARK not in str(caught.value)
    assert Target.parse("postgresql://u:a?b=c@host/db").params["password"] == "a?b=c"


@pytest.mark.parametrize(
    "conninfo",
    [
        f"postgresql://h/d?user=x&pwd=abc&{MARK}",
        f"postgresql://h/d?user=x&pass=abc&{MARK}=1",
        f"postgresql://h/d?Password=abc&{MARK}=2",
        f"postgresql://h/d?auth_token=abc&{MARK}=2",
        f"postgresql://h/d?{MARK}",
        f"postgresql://u:a?{MARK}",
        f"postgresql://u:a?{MARK}=b",
    ],
)
def test_cut_passwords(conninfo: str) -> None:
    """A part of a password that was cut at a "?" or "&" is not shown as a parameter's name."""
    with pytest.raises(ConninfoError) as caught:
        Target.parse(conninfo)
    assert MARK not in str(caught.value)


@pytest.mark.parametrize(
    ("conninfo", "attrs"),
    [
        ("postgresql://h/d", None),
        ("postgresql://h1,h2:1,h3/d?target_session_attrs=primary", "primary"),
        ("hostaddr=10.0.0.1,10.0.0.2 target_session_attrs=any", None),
        ("host=h target_session_attrs=prefer-standby", None),
    ],
)
def test_session_attributes(conninfo: str, attrs: str | None) -> None:
    """A target knows what it requires of its servers' sessions."""
    assert Target.parse(conninfo).session_attrs == attrs


def test_the_environment_requires_session_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment variables of libpq count where the connection string is silent."""
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "read-only")
    assert Target.parse("dbname=with_an_environment").session_attrs == "read-only"


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
