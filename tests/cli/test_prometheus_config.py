"""Tests for ``nanospan prometheus-config``."""

import pytest

from nanospan.cli import main

DEFAULT = """\
scrape_configs:
  - job_name: "nanospan"
    scrape_interval: 15s
    scrape_native_histograms: true
    static_configs:
      - targets:
          - "127.0.0.1:9464"
"""


def test_the_default_job_scrapes_the_default_server(capsys):
    """Without arguments, the job scrapes the default port, with native histograms."""
    assert main(["prometheus-config"]) == 0
    assert capsys.readouterr().out == DEFAULT


def test_every_option_is_written(capsys):
    """Targets, scheme, path, the job's name and the interval are written."""
    targets = ["https://a.example:8443/m", "https://b.example/m"]
    assert main(["prometheus-config", "--job", "shop", "--interval", "1m30s", *targets]) == 0
    assert capsys.readouterr().out == (
        'scrape_configs:\n  - job_name: "shop"\n    scrape_interval: 1m30s\n'
        '    scrape_native_histograms: true\n    scheme: https\n    metrics_path: "/m"\n'
        "    static_configs:\n      - targets:\n"
        '          - "a.example:8443"\n          - "b.example"\n'
    )


@pytest.mark.parametrize("version", ["3.7", "v2.53.1", "3.5.3+ds1"])
def test_an_older_prometheus_gets_the_flag(version, capsys):
    """Before 3.8, the setting would be refused, so a comment names the flag instead."""
    assert main(["prometheus-config", "--prometheus-version", version]) == 0
    flag = "# Start Prometheus with --enable-feature=native-histograms.\n"
    setting = "    scrape_native_histograms: true\n"
    assert capsys.readouterr().out == flag + DEFAULT.replace(setting, "")


@pytest.mark.parametrize("version", ["3.8", "3.16.0", "4.0"])
def test_a_newer_prometheus_gets_the_setting(version, capsys):
    """From 3.8 on, the setting is written."""
    assert main(["prometheus-config", "--prometheus-version", version]) == 0
    assert capsys.readouterr().out == DEFAULT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ftp://a"], "a target must be HOST:PORT or a URL of the metrics"),
        (["a:b"], "got 'a:b'"),
        (["user@a:1"], "got 'user@a:1'"),
        (["http://a/m?x=1"], "without a query"),
        ([""], "got ''"),
        (["http://a/m", "http://a/m/"], "got http://.../m and http://.../m/"),
        (["a:1", "https://a:1"], "got http://.../metrics and https://.../metrics"),
        (["--job", ""], "the job's name must be printable and not empty, got ''"),
        (["--interval", "15"], "the interval must be a duration such as 15s or 1m30s, got '15'"),
        (["--interval", "0s"], "got '0s'"),
        (["--interval", ""], "got ''"),
        (["--prometheus-version", "three"], "must have the form 3.8 or 3.8.1, got 'three'"),
    ],
)
def test_wrong_arguments_end_with_2(arguments, message, capsys):
    """A wrong argument ends with exit status 2 and a message that says what is expected."""
    with pytest.raises(SystemExit) as exit_:
        main(["prometheus-config", *arguments])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_help_explains_native_histograms(capsys):
    """``nanospan prometheus-config --help`` says what each version needs, and shows examples."""
    with pytest.raises(SystemExit):
        main(["prometheus-config", "--help"])
    output = capsys.readouterr().out
    for word in ("scrape_native_histograms", "--enable-feature=native-histograms", "TARGET", "15s"):
        assert word in output
