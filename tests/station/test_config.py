import re
import subprocess
import sys
import tomllib
from datetime import time
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from dockd.base.errors import ConfigError
from dockd.base.log_config import LogConfig
from dockd.cli.main import main
from dockd.evidence.age import HybridIdentity, X25519Identity
from dockd.station import config as configuration
from dockd.station.config import (
    BayConfig,
    Config,
    FolderConfig,
    IngestConfig,
    SpoolConfig,
    TargetConfig,
    UsbCameraConfig,
    UsbConfig,
    WipeConfig,
    load,
)
from tests.support import write_config

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def mistakes(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value.detail


# The example


def test_the_example_is_what_the_code_says() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "dockd.station.config"], capture_output=True, text=True, check=True
    )
    assert EXAMPLE.read_text() == made.stdout


def test_the_example_changes_no_default() -> None:
    shown = load(EXAMPLE)
    assert shown.spool == SpoolConfig()
    assert shown.ingest == IngestConfig()
    assert shown.target == TargetConfig(url=shown.target.url)
    assert shown.wipe == WipeConfig()
    assert shown.log == LogConfig()
    assert shown.usb == UsbConfig()
    assert shown.folders == ()
    assert shown.bays == ()
    (profile,) = shown.profiles
    assert profile.usb is None
    (rule,) = profile.rules
    assert (profile.case_sensitive, rule.event, rule.time_format) == (False, False, None)
    assert shown.station.state == Path("/var/lib/dockd")


def switched_on(example: str) -> str:
    """The example with all that is commented out brought in."""
    return re.sub(r"^# (?=[a-z_]+ = |\[)", "", example, flags=re.MULTILINE)


def test_the_example_is_correct_with_everything_switched_on(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(switched_on(EXAMPLE.read_text()))
    whole = load(path)
    assert whole.target.schedule[0].since == time(7)
    assert whole.target.receiver_keys == (tmp_path / "receiver.pub",)
    assert whole.profiles[0].rules[0].time_format == "%Y%m%d%H%M%S"
    default = FolderConfig(
        path=Path("/srv/cameras/CAM-0001"), serial="CAM-0001", profile="generic", bay="3"
    )
    assert whole.folders == (default,)
    assert whole.profiles[0].usb == UsbCameraConfig(
        vendor="1234", product="5678", serials=("CAM-0001", "CAM-0002")
    )
    assert whole.bays == (BayConfig(name="3", port="pci-0000:00:14.0-usb-0:1.3"),)


def test_every_key_has_a_reason_of_one_line() -> None:
    lines = switched_on(EXAMPLE.read_text()).splitlines()
    for before, line in pairwise(lines):
        if re.match(r"[a-z_]+ = |\[", line):
            assert re.fullmatch(r"# .{8,96}\.", before), line


# Mistakes


def test_every_mistake_is_named_at_once_and_the_command_ends_with_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.toml"
    path.write_text("""\
[station]
id = "camden/07"

[encryption]
recipients = ["age1notakey"]

[spool]
budgt = "1 GiB"
reserve = "2 GB"

[target]
url = "http://evidence.example/files/"
timeout_seconds = 0

[wipe]
policy = "shred"

[[profiles]]
name = "generic"
rules = [{ pattern = "{", kind = "video" }]

[[folders]]
path = "/srv/cameras/1"
serial = "1"
profil = "generic"

[uplaod]
""")
    assert main(["run", "--config", str(path)]) == 78
    told = capsys.readouterr().err
    for line, key in [
        (2, "station.id"),
        (5, "encryption.recipients.0"),
        (8, "spool.budgt"),
        (9, "spool.reserve"),
        (12, "target.url"),
        (13, "target.timeout_seconds"),
        (16, "wipe.policy"),
        (20, "profiles.0.rules.0.pattern"),
        (22, "folders.0.profile"),
        (25, "folders.0.profil"),
        (27, "uplaod"),
    ]:
        assert f"  line {line}: {key}: " in told
    assert told.count("\n  line ") == 11
    assert "did you mean budget?" in told
    assert "did you mean profile?" in told
    assert "dockd: hint: " in told


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ('url = "ftp://evidence.example/"', "must start with https:// or http://"),
        ('url = "https:///files/"', "have a host"),
        ('url = "evidence.example/files/"', "must start with https:// or http://"),
        ('url = "http://evidence.example/"', "http:// is allowed for loopback only"),
        ('url = "http://10.0.0.1/"', "http:// is allowed for loopback only"),
        ('url = "http://localhost.evil.example/"', "http:// is allowed for loopback only"),
        ('url = "https://user@evidence.example/"', "credentials are in files"),
        ('url = "https://:secret@evidence.example/"', "credentials are in files"),
        ('url = "https://evidence.example/?token=1"', "credentials are in files"),
        ('url = "https://evidence.example/?"', "no user, query or fragment"),
        ('url = "https://evidence.example/#"', "no user, query or fragment"),
        ('url = "https://evidence.example:99999/"', "port out of range"),
        ('url = "https://[::1/"', "invalid IPv6"),
        (
            'url = "https://e.example/"\nreceipts_url = "http://e.example/"\nreceiver_keys = ["k"]',
            "http:// is allowed for loopback only",
        ),
        (
            'url = "https://e.example/"\nreceipts_url = "https://e.example/"',
            "receipts_url requires receiver_keys",
        ),
        ('url = "https://e.example/"\nclient_certificate = "c.pem"', "must be set together"),
        ('url = "https://e.example/"\nclient_key_file = "c.key"', "must be set together"),
        ('url = "https://e.example/"\nchunk_size = 1000', "target.chunk_size"),
        ('url = "https://e.example/"\nconcurrency = 0', "target.concurrency"),
        ('url = "https://e.example/"\nconcurrency = 2.0', "target.concurrency"),
        ('url = "https://e.example/"\ntimeout_seconds = inf', "target.timeout_seconds"),
        ('url = "https://e.example/"\ntimeout_seconds = nan', "target.timeout_seconds"),
        ('url = "https://e.example/"\ntimeout_seconds = true', "target.timeout_seconds"),
        ('url = "https://e.example/"\ntimeout_seconds = "60"', "target.timeout_seconds"),
        ('url = "https://e.example/"\ntoken = "secret"', "did you mean token_file?"),
    ],
)
def test_a_target_with_a_mistake_is_refused(tmp_path: Path, target: str, told: str) -> None:
    assert told in mistakes(write_config(tmp_path, target=f"[target]\n{target}\n"))


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://evidence.example/files", "https://evidence.example/files/"),
        ("https://evidence.example", "https://evidence.example/"),
        ("http://127.0.0.1:1080/files/", "http://127.0.0.1:1080/files/"),
        ("http://[::1]:1080/", "http://[::1]:1080/"),
        ("http://localhost/", "http://localhost/"),
    ],
)
def test_an_address_ends_in_a_slash_and_may_be_plain_on_loopback(
    tmp_path: Path, url: str, read: str
) -> None:
    assert load(write_config(tmp_path, target=f'[target]\nurl = "{url}"\n')).target.url == read


SECRET = X25519Identity.generate()
PLAIN = X25519Identity.generate().recipient
HYBRID = HybridIdentity.generate().recipient


@pytest.mark.parametrize(
    ("recipients", "told"),
    [
        ("[]", "line 6: encryption.recipients: has too few items"),
        (f'["{PLAIN}", "{HYBRID}"]', "mixed"),
        (f'["{SECRET}"]', "this is a secret identity"),
        ('["age1qqqq"]', "line 6: encryption.recipients.0: "),
        ('["ssh-ed25519 AAAA"]', "encryption.recipients.0"),
        (f'["{str(PLAIN).upper()[:-1]}"]', "encryption.recipients.0"),
        (f'"{PLAIN}"', "must be an array"),
        ("[5]", "encryption.recipients.0"),
    ],
)
def test_recipients_that_cannot_be_sealed_to_are_refused(
    tmp_path: Path, recipients: str, told: str
) -> None:
    path = write_config(tmp_path, encryption=f"[encryption]\nrecipients = {recipients}\n")
    assert told in mistakes(path)


def test_every_wrong_recipient_is_named_and_no_secret_is_shown(tmp_path: Path) -> None:
    recipients = f'["age1a", "{PLAIN}", "{SECRET}"]'
    path = write_config(tmp_path, encryption=f"[encryption]\nrecipients = {recipients}\n")
    told = mistakes(path)
    assert "encryption.recipients.0: " in told
    assert "encryption.recipients.1: " not in told
    assert "encryption.recipients.2: " in told
    assert str(SECRET)[20:30] not in told


@pytest.mark.parametrize("recipients", [[PLAIN], [PLAIN, SECRET.recipient], [HYBRID]])
def test_recipients_of_one_kind_are_accepted(tmp_path: Path, recipients: list[object]) -> None:
    listed = ", ".join(f'"{recipient}"' for recipient in recipients)
    path = write_config(tmp_path, encryption=f"[encryption]\nrecipients = [{listed}]\n")
    assert len(load(path).encryption.recipients) == len(recipients)


def folder(path: str, serial: str, profile: str = "generic") -> str:
    return f'\n[[folders]]\npath = "{path}"\nserial = "{serial}"\nprofile = "{profile}"\n'


def test_folders_are_cameras_that_differ_and_have_a_profile(tmp_path: Path) -> None:
    extra = folder("/a", "1") + folder("/b", "1") + folder("/c", "2", "other")
    told = mistakes(write_config(tmp_path, extra=extra))
    lines = (tmp_path / "config.toml").read_text().splitlines()
    serial = len(lines) - lines[::-1].index('serial = "1"')
    profile = lines.index('profile = "other"') + 1
    assert f"line {serial}: folders.1.serial: another folder has this profile and serial" in told
    assert f"line {profile}: folders.2.profile: there is no such profile, only generic" in told


def test_folders_with_serials_or_profiles_of_their_own_are_accepted(tmp_path: Path) -> None:
    extra = folder("/a", "1") + folder("b", "2")
    folders = load(write_config(tmp_path, extra=extra)).folders
    assert [one.path for one in folders] == [Path("/a"), tmp_path / "b"]


PROFILE = '[[profiles]]\nname = "generic"\n'


@pytest.mark.parametrize(
    ("profiles", "told"),
    [
        ("", "profiles: required key is missing"),
        (PROFILE, "profiles.0.rules: required key is missing"),
        (PROFILE + "rules = []", "profiles.0.rules: "),
        (PROFILE + 'rules = [{ pattern = "", kind = "video" }]', "profiles.0.rules.0.pattern"),
        (PROFILE + 'rules = [{ pattern = "{a b}", kind = "video" }]', "without a group's name"),
        (PROFILE + 'rules = [{ pattern = "*", kind = "movie" }]', "'video', 'sidecar'"),
        (
            PROFILE + 'rules = [{ pattern = "{time}", kind = "video", time_format = "%Q" }]',
            "profiles.0.rules.0.time_format: 'Q' is a bad directive",
        ),
        (
            PROFILE + 'rules = [{ pattern = "*", kind = "video", time_format = "%Y" }]',
            "profiles.0.rules.0: time_format requires {time} in the pattern",
        ),
        (
            PROFILE + 'rules = [{ pattern = "{timer}", kind = "video", time_format = "%Y" }]',
            "profiles.0.rules.0: time_format requires {time} in the pattern",
        ),
        (
            PROFILE + 'rules = [{ pattern = "{time}", kind = "video", time_format = "YYYY" }]',
            "profiles.0.rules.0.time_format: 'YYYY' is not a time format",
        ),
        (
            PROFILE + 'rules = [{ pattern = "{officer}_{time}.mp4", kind = "video" }]',
            "profiles.0.rules.0.pattern: it is ambiguous: 'A__D.mp4' would make officer 'A_'",
        ),
        (
            PROFILE + 'rules = [{ pattern = "DCIM//*.mp4", kind = "video" }]',
            "profiles.0.rules.0.pattern: 'DCIM//*.mp4' matches no file",
        ),
        (
            (PROFILE + 'rules = [{ pattern = "*", kind = "video" }]\n') * 2,
            "two profiles have the same name",
        ),
        ('[[profiles]]\nname = "a:b"\n', "profiles.0.name"),
    ],
)
def test_a_profile_with_a_mistake_is_refused(tmp_path: Path, profiles: str, told: str) -> None:
    assert told in mistakes(write_config(tmp_path, profiles=profiles))


@pytest.mark.parametrize(
    ("url", "receipts_url", "told"),
    [
        (
            "https://e.example/receipts/",
            "https://e.example/files/",
            "are swapped",
        ),
        ("https://e.example/receipts", "https://e.example/x", "url is where receipts are given"),
        ("https://e.example/x", "https://e.example/x/", "must be different addresses"),
    ],
)
def test_addresses_that_are_mixed_up_are_told(
    tmp_path: Path, url: str, receipts_url: str, told: str
) -> None:
    keys = {"url": url, "receipts_url": receipts_url, "receiver_keys": (Path("a.pub"),)}
    with pytest.raises(ValidationError, match=told):
        TargetConfig.model_validate(keys)


def test_only_what_is_kept_as_metadata_has_to_be_unambiguous(tmp_path: Path) -> None:
    rules = 'rules = [{ pattern = "{a}_{b}.mp4", kind = "ignore" }]'
    load(write_config(tmp_path, profiles=PROFILE + rules))
    sensitive = 'case_sensitive = true\nrules = [{ pattern = "{a!x}X{b}", kind = "video" }]'
    assert "ambiguous" in mistakes(write_config(tmp_path, profiles=PROFILE + sensitive))
    rules = 'rules = [{ pattern = "{a!x}X{b}", kind = "video" }]'
    load(write_config(tmp_path, profiles=PROFILE + rules))


def usb(*lines: str) -> str:
    rules = 'rules = [{ pattern = "*", kind = "video" }]\n'
    return PROFILE + rules + "[profiles.usb]\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "lines",
    [
        ['vendor = "1a2b"'],
        ['vendor = "12*"'],
        ['product = "5678"'],
        ['serial = "CAM-????"'],
        ['model = "Bodycam"'],
        ['label = "BODYCAM"'],
        ['serials = ["1"]'],
        ['label = "X"', 'identity = "volume"', 'when_done = "power-off"'],
    ],
)
def test_a_camera_on_usb_is_told_from_a_stick_by_anything_it_says(
    tmp_path: Path, lines: list[str]
) -> None:
    (profile,) = load(write_config(tmp_path, profiles=usb(*lines))).profiles
    assert profile.usb is not None


def test_a_usb_id_is_compared_in_lower_case(tmp_path: Path) -> None:
    (profile,) = load(write_config(tmp_path, profiles=usb('vendor = "1A2B"'))).profiles
    assert profile.usb is not None
    assert profile.usb.vendor == "1a2b"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "profiles.0.usb: this matches every USB stick"),
        (['vendor = "*"', 'model = "*"'], "profiles.0.usb: this matches every USB stick"),
        (['vendor = "????"', 'serial = "?*"'], "profiles.0.usb: this matches every USB stick"),
        (['label = ""'], "profiles.0.usb: this matches every USB stick"),
        (["serials = []"], "profiles.0.usb: this matches every USB stick"),
        (['vendor = "0x1234"'], "profiles.0.usb.vendor: a USB id is four hexadecimal digits"),
        (['product = ""'], "profiles.0.usb.product: a USB id is four hexadecimal digits"),
        (['vendor = "12"'], "profiles.0.usb.vendor: a USB id is four hexadecimal digits"),
        (['label = "X"', 'identity = "uuid"'], "profiles.0.usb.identity"),
        (['label = "X"', 'when_done = "eject"'], "profiles.0.usb.when_done"),
        (['label = "X"', 'vendro = "1234"'], "did you mean vendor?"),
    ],
)
def test_a_profile_that_is_wrong_about_usb_is_refused(
    tmp_path: Path, lines: list[str], told: str
) -> None:
    assert told in mistakes(write_config(tmp_path, profiles=usb(*lines)))


def bay(name: str, port: str) -> str:
    return f'\n[[bays]]\nname = "{name}"\nport = "{port}"\n'


def test_bays_have_names_and_ports_of_their_own(tmp_path: Path) -> None:
    extra = bay("1", "usb-0:1") + bay("1", "usb-0:2") + bay("3", "usb-0:1")
    told = mistakes(write_config(tmp_path, extra=extra))
    assert "bays.1.name: another bay has this name" in told
    assert "bays.2.port: another bay has this port" in told
    config = load(write_config(tmp_path, extra=bay("1", "usb-0:1") + bay("2", "usb-0:2.*")))
    assert [one.name for one in config.bays] == ["1", "2"]


def rule(since: str, until: str = '"19:00"') -> str:
    target = '[target]\nurl = "https://evidence.example/"\n'
    return f'{target}[[target.schedule]]\nsince = {since}\nuntil = {until}\nlimit = "1 MiB"\n'


@pytest.mark.parametrize("since", ['"07:30"', "07:30:00", '"07:30:00"'])
def test_a_time_of_day_is_text_or_tomls_own(tmp_path: Path, since: str) -> None:
    config = load(write_config(tmp_path, target=rule(since)))
    assert config.target.schedule[0].since == time(7, 30)


@pytest.mark.parametrize("since", ["7", "7.5", '"7"', '"25:00"', '"07:00+01:00"', '"07:00Z"'])
def test_what_is_no_local_time_of_day_is_refused(tmp_path: Path, since: str) -> None:
    told = mistakes(write_config(tmp_path, target=rule(since)))
    assert 'target.schedule.0.since: a time of day is written "07:00"' in told


# Places


def test_relative_paths_are_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = '[target]\nurl = "https://e.example/"\nreceiver_keys = ["keys/r.pub", "/r2.pub"]\n'
    path = write_config(tmp_path, target=target, extra='\n[spool]\npath = "spool"\n')
    monkeypatch.chdir("/")
    config = load(path)
    assert config.target.receiver_keys == (tmp_path / "keys/r.pub", Path("/r2.pub"))
    assert config.station.key_file == tmp_path / "station.key"
    assert config.spool_folder == tmp_path / "spool"


def test_spool_and_ledger_are_in_the_state_folder(tmp_path: Path) -> None:
    config = load(write_config(tmp_path))
    assert config.spool_folder == tmp_path / "state" / "spool"
    assert config.ledger_path == tmp_path / "state" / "ledger.db"


def test_secrets_come_from_systemds_credentials_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name in ("station.key", "token"):
        (credentials / name).write_text("")
    target = (
        '[target]\nurl = "https://e.example/"\ntoken_file = "token"\n'
        'client_certificate = "client.pem"\nclient_key_file = "client.key"\n'
    )
    path = write_config(tmp_path, target=target)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    config = load(path)
    assert config.station.key_file == credentials / "station.key"
    assert config.target.token_file == credentials / "token"
    assert config.target.client_key_file == tmp_path / "client.key"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert load(path).station.key_file == tmp_path / "station.key"


def test_no_key_holds_a_secret_itself() -> None:
    keys = set(re.findall(r"^(?:# )?([a-z_]+) = ", EXAMPLE.read_text(), re.MULTILINE))
    secrets = {key for key in keys if re.search("key|token|secret|password", key)}
    assert secrets == {"key_file", "earlier_keys", "receiver_keys", "client_key_file", "token_file"}


def test_the_example_is_read_by_any_toml_reader() -> None:
    assert set(tomllib.loads(EXAMPLE.read_text())) <= set(Config.model_fields)
    assert configuration.EXAMPLE_HEADING.splitlines()[0] in EXAMPLE.read_text()
