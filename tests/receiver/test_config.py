"""The receiver's configuration file."""

import subprocess
import sys
from pathlib import Path

import pytest

from dockd.base.errors import ConfigError
from dockd.receiver.config import load

EXAMPLE = Path(__file__).parents[2] / "receiver.example.toml"
MINIMAL = """
[receiver]
id = "evidence-1"
[[stations]]
id = "camden-07"
public_keys = ["camden-07.pub"]
"""


def test_the_example_is_what_the_code_says() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "dockd.receiver.config"], capture_output=True, text=True, check=True
    )
    assert EXAMPLE.read_text() == made.stdout


def test_the_example_loads() -> None:
    config = load(EXAMPLE)
    assert config.stations[0].public_keys == (EXAMPLE.parent / "camden-07.pub",)


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    path = tmp_path / "receiver.toml"
    path.write_text(MINIMAL)
    config = load(path)
    assert config.receiver.key_file == tmp_path / "receiver.key"
    assert config.listen.host == "127.0.0.1"
    assert config.store.reserve == 2 * 2**30


@pytest.mark.parametrize(
    ("added", "mistake"),
    [
        (
            '[listen]\ncertificate = "a.pem"',
            "certificate_key_file must be set together",
        ),
        ('[listen]\nclient_ca_file = "a.pem"', "client_ca_file requires certificate"),
        ("[listen]\nport = 65536", "listen.port"),
        ('[store]\nreserve = "2 GB"', "store.reserve"),
        ("[store]\nreserv = 2", "did you mean reserve"),
        ('[[stations]]\nid = "camden-07"\npublic_keys = ["b"]', "two stations have the same id"),
        ('[[stations]]\nid = "b"\npublic_keys = []', "stations.1.public_keys"),
        (
            '[[stations]]\nid = "b"\npublic_keys = ["b"]\ntokens_sha256 = ["x"]',
            "stations.1.tokens_sha256.0",
        ),
        (
            f'[[stations]]\nid = "b"\npublic_keys = ["b"]\ntokens_sha256 = ["{"a" * 64}"]\n'
            f'[[stations]]\nid = "c"\npublic_keys = ["c"]\ntokens_sha256 = ["{"a" * 64}"]',
            "duplicate token",
        ),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, added: str, mistake: str) -> None:
    path = tmp_path / "receiver.toml"
    path.write_text(MINIMAL + added)
    with pytest.raises(ConfigError, match=mistake):
        load(path)
