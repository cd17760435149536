#!/bin/sh
# Makes what `cargo test --test guest -- --ignored` boots, in a directory of its own: an emulator, a stock Debian kernel, and
# an initial file system with the VLAN, bridge and TAP modules of that kernel and this program. Nothing is installed.
#
#     tests/support/guest-image.sh target/guest target/release/l2vpn
set -eu
out=$1
program=$2
mkdir -p "$out"
out=$(cd "$out" && pwd)

fetch() {
    rm -rf "$out/debs" "$out/root" "$out/kernel"
    mkdir -p "$out/debs/partial" "$out/root" "$out/kernel"
    # What the emulator needs and this machine lacks; installing it could push out other packages.
    apt-get install -qq -y --no-install-recommends --download-only \
        -o Dir::Cache::Archives="$out/debs" -o APT::Sandbox::User=root \
        qemu-system-x86 busybox-static >/dev/null
    kernel=$(apt-cache depends linux-image-cloud-amd64 |
        sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    (cd "$out/debs" && apt-get download -qq -o APT::Sandbox::User=root "$kernel" busybox-static \
        qemu-system-x86 qemu-system-data qemu-system-common seabios)
    for deb in "$out"/debs/*.deb; do
        case $deb in
        */linux-image-*) dpkg -x "$deb" "$out/kernel" ;;
        *) dpkg -x "$deb" "$out/root" ;;
        esac
    done
    # The emulator with its own libraries and firmware.
    cat >"$out/qemu" <<END
#!/bin/sh
LD_LIBRARY_PATH=$out/root/usr/lib/x86_64-linux-gnu:$out/root/lib/x86_64-linux-gnu \\
exec $out/root/usr/bin/qemu-system-x86_64 -L $out/root/usr/share/qemu -L $out/root/usr/share/seabios "\$@"
END
    chmod +x "$out/qemu"
    cp "$out"/kernel/boot/vmlinuz-* "$out/vmlinuz"
}
[ -e "$out/vmlinuz" ] || fetch

tree=$out/tree
rm -rf "$tree"
mkdir -p "$tree/bin" "$tree/dev" "$tree/proc" "$tree/sys" "$tree/tmp" "$tree/run" "$tree/modules" "$tree/lib64"
cp "$(find "$out/root" -path '*bin/busybox' | head -n 1)" "$tree/bin/busybox"
for applet in sh cat echo sleep mount mkdir insmod ping poweroff grep seq rm; do
    ln -sf busybox "$tree/bin/$applet"
done

# Programs of this machine, with their libraries. busybox has no `bridge`, and its `ip` knows no 802.1ad.
take() {
    cp "$1" "$tree/bin/"
    ldd "$1" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' | while read -r library; do
        mkdir -p "$tree/$(dirname "$library")"
        cp -n "$library" "$tree/$library"
    done
}
take "$(command -v ip)"
take "$(command -v bridge)"
take "$program"

# In this order: each needs those before it.
n=10
for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci failover net_failover virtio_net \
    llc stp mrp garp 8021q bridge tun; do
    file=$(find "$out/kernel/lib/modules" -name "$module.ko" | head -n 1)
    [ -z "$file" ] || cp "$file" "$tree/modules/$n-$module.ko"
    n=$((n + 1))
done

cp "$(dirname "$0")/guest-init.sh" "$tree/init"
chmod +x "$tree/init"
(cd "$tree" && find . | ./bin/busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$out/initrd.new"
mv "$out/initrd.new" "$out/initrd"
