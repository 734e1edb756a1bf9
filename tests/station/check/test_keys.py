from pathlib import Path

import pytest

from dockd.base.findings import Level
from dockd.evidence.keys import SigningKey
from dockd.station.check import credentials, keys
from tests.station.check.support import Patient, healthy, worst


def test_keys_that_are_as_they_should_be_are_named(patient: Patient) -> None:
    findings = patient.findings(keys.check)
    assert healthy(findings)
    said = " ".join(finding.what for finding in findings)
    assert patient.key.kid in said
    assert patient.receiver_key.kid in said


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_private_key_that_others_can_read_is_an_error(patient: Patient, mode: int) -> None:
    key = patient.folder / "station.key"
    key.chmod(mode)
    found = worst(patient.findings(keys.check))
    assert found.level is Level.ERROR
    assert found.remedy == f"chmod 600 {key}"


def test_a_token_that_others_can_read_is_an_error(patient: Patient) -> None:
    patient.target = 'token_file = "token"'
    (patient.folder / "token").write_text("secret")
    (patient.folder / "token").chmod(0o644)
    found = worst(patient.findings(keys.check))
    assert (found.level, found.remedy) == (Level.ERROR, f"chmod 600 {patient.folder / 'token'}")
    assert "secret" not in found.what


def test_a_private_key_of_another_user_is_an_error(patient: Patient) -> None:
    patient.uid += 4711
    found = worst(patient.findings(keys.check))
    assert found.level is Level.ERROR
    assert "chown" in found.remedy


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("no key")])
def test_a_private_key_that_is_none_is_an_error(patient: Patient, spoil: object) -> None:
    assert callable(spoil)
    spoil(patient.folder / "station.key")
    assert worst(patient.findings(keys.check)).level is Level.ERROR


def test_a_pinned_key_that_others_can_replace_is_an_error(patient: Patient) -> None:
    (patient.folder / "receiver.pub").chmod(0o664)
    found = worst(patient.findings(keys.check))
    assert found.level is Level.ERROR
    assert patient.receiver_key.kid in found.remedy


def test_each_earlier_key_is_looked_at(patient: Patient) -> None:
    patient.earlier = ["earlier.pub", "none.pub"]
    earlier = SigningKey.generate()
    (patient.folder / "earlier.pub").write_bytes(earlier.verify_key.pem())
    (patient.folder / "none.pub").write_text("no key")
    findings = patient.findings(keys.check)
    assert any(earlier.kid in one.what for one in findings if one.level is Level.OK)
    found = worst(findings)
    assert found.level is Level.ERROR
    assert "none.pub" in found.what


def test_a_single_recipient_is_a_warning(patient: Patient) -> None:
    patient.recipients = 1
    assert worst(patient.findings(keys.check)).level is Level.WARNING


def test_the_key_of_a_stopped_service_is_found_where_systemd_takes_it_from(
    patient: Patient,
) -> None:
    store = patient.machine.root / "etc/credstore"
    store.mkdir(parents=True)
    (patient.folder / "station.key").rename(store / "dockd.station.key")
    findings = patient.findings(keys.check)
    assert healthy(findings)
    assert str(store) in findings[0].what


def test_the_credentials_of_the_running_service_are_seen(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = patient.machine.root / "run/credentials/dockd.service"
    folder.mkdir(parents=True)
    # systemd guards the folder with an access list, which the mode does not show.
    (patient.folder / "station.key").rename(folder / "station.key").chmod(0o440)
    # Whatever is set in the end, monkeypatch knows what it was.
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    credentials.adopt(patient.machine.root)
    findings = patient.findings(keys.check)
    assert healthy(findings)
    assert str(folder) in findings[0].what
