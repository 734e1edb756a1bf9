"""The disk of a virtual machine: a Debian 12 that is built once and kept outside the repository."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PACKAGES = (
    "dbus,dosfstools,exfatprogs,iproute2,jq,kmod,linux-image-amd64,make,nftables,openssh-server,"
    "openssl,polkitd,procps,python3-venv,systemd-sysv,udev,udisks2"
)
_MADE_BY = (
    *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}"),
    *("--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"),
    *("--dpkgopt=path-exclude=/usr/share/locale/*", "bookworm"),
)
_CUSTOMIZE = Path(__file__).with_name("guest.sh")
_SIZE = "8G"
_ARCHIVE = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"


@dataclass(frozen=True)
class Image:
    """A built image: files that are read, and never changed."""

    folder: Path

    @property
    def disk(self) -> Path:
        """The root file system, raw, without a partition table."""
        return self.folder / "disk.img"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"

    @property
    def key(self) -> Path:
        """The ssh key that root of the machine accepts."""
        return self.folder / "user"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"


def image() -> Image:
    """Return the image, building it where the cache has none of this recipe (about 2 minutes)."""
    cache = cache_folder()
    recipe = hashlib.sha256(repr([_MADE_BY, _SIZE, _CUSTOMIZE.read_bytes()]).encode())
    built = Image(cache / f"bookworm-{recipe.hexdigest()[:16]}")
    if not built.folder.exists():
        with _only_one(cache / "lock"):
            if not built.folder.exists():
                _build(built)
    return built


def cache_folder() -> Path:
    """Return the folder for what later runs use again, creating it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "dockd-vm"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(built: Image) -> None:
    with tempfile.TemporaryDirectory(dir=built.folder.parent, prefix="building-") as name:
        made = Image(Path(name) / "image")
        made.folder.mkdir()
        _make_keys(made)
        root = Path(name) / "root"
        customize = f"--customize-hook={_CUSTOMIZE}"
        _run(*_MADE_BY, str(root), *_archives(), customize, KEYS=str(made.folder))
        shutil.copy(next((root / "boot").glob("vmlinuz-*")), made.kernel)
        shutil.copy(next((root / "boot").glob("initrd.img-*")), made.initrd)
        _run("mkfs.ext4", "-q", "-d", str(root), str(made.disk), _SIZE)
        made.folder.rename(built.folder)


def _make_keys(made: Image) -> None:
    for name in ("user", "host"):
        key = made.folder / name
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "dockd-vm", "-f", str(key))
    made.known_hosts.write_text(f"machine {(made.folder / 'host.pub').read_text()}")


def _archives() -> list[str]:
    """Return where this machine's own apt has Debian 12 from."""
    targets = subprocess.run(
        [
            *("apt-get", "indextargets", "Origin: Debian", "Created-By: Packages"),
            *("--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    archives = sorted({f"{_ARCHIVE} {target}" for target in targets if " bookworm" in target})
    assert archives, "apt knows no Debian 12 archive: apt-get update"
    return archives


def _run(*command: str, **environment: str) -> None:
    ended = subprocess.run(
        command,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{command[0]} failed:\n{ended.stdout}"
