#!/bin/sh
# Makes a Debian that mmdebstrap has unpacked into one that boots fast and answers ssh.
# Run by mmdebstrap with the folder of the new system; $KEYS holds the ssh keys.
set -eu
root=$1

echo station > "$root/etc/hostname"
echo '127.0.0.1 localhost station' > "$root/etc/hosts"
echo '/dev/vda / ext4 errors=remount-ro 0 1' > "$root/etc/fstab"

# The machine's own disk, and nothing else: a small initrd is unpacked quickly.
echo 'MODULES=list' > "$root/etc/initramfs-tools/conf.d/modules"
printf '%s\n' virtio_pci virtio_blk ext4 >> "$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u

# QEMU's own network, without a way out of it.
cat > "$root/etc/systemd/system/network.service" <<'END'
[Unit]
DefaultDependencies=no
After=systemd-udevd.service
Requires=sys-subsystem-net-devices-eth0.device
After=sys-subsystem-net-devices-eth0.device
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link set lo up
ExecStart=ip address add 10.0.2.15/24 dev eth0
ExecStart=ip link set eth0 up
[Install]
WantedBy=multi-user.target
END

install -d -m 700 "$root/root/.ssh"
install -m 600 "$KEYS/user.pub" "$root/root/.ssh/authorized_keys"
rm -f "$root"/etc/ssh/ssh_host_*
install -m 600 "$KEYS/host" "$root/etc/ssh/ssh_host_ed25519_key"
cat > "$root/etc/ssh/sshd_config.d/machine.conf" <<'END'
HostKey /etc/ssh/ssh_host_ed25519_key
UseDNS no
UsePAM no
MaxSessions 100
MaxStartups 100
END

# What a test waits for when it boots the machine.
cat > "$root/etc/systemd/system/ready.service" <<'END'
[Unit]
After=ssh.service network.service
[Service]
Type=oneshot
ExecStart=echo the machine is ready
StandardOutput=tty
TTYPath=/dev/ttyS0
[Install]
WantedBy=multi-user.target
END

# The journal outlives a power cut, and loses no line of a busy daemon.
install -d "$root/var/log/journal" "$root/etc/systemd/journald.conf.d"
cat > "$root/etc/systemd/journald.conf.d/machine.conf" <<'END'
[Journal]
Storage=persistent
SyncIntervalSec=1s
RateLimitIntervalSec=0
END

chroot "$root" systemctl --quiet enable ready.service network.service ssh.service
chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@tty1.service \
    serial-getty@ttyS0.service
