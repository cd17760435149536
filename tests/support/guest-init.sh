#!/bin/sh
# The first process of a guest: `part=ping number=1` asks `part=wait number=2` for everything, `part=filter` runs a member
# with a bridge that filters by VLAN. Lines that begin with GUEST are for the test.
export PATH=/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
for module in /modules/*; do
    insmod "$module" 2>/dev/null || insmod "$module"
done
for word in $(cat /proc/cmdline); do
    case $word in
    part=* | number=*) eval "$word" ;;
    esac
done
# The shell would take its own.
ip() { /bin/ip "$@"; }
ip link set lo up

vlan() {
    ip link add link "$1" name "$2" type vlan proto "$3" id "$4"
    ip link set "$2" up
}

lan() {
    ip link set eth0 address "02:00:00:00:07:0$number" up
    vlan eth0 eth0.10 802.1q 10
    vlan eth0 eth0.20 802.1q 20
    vlan eth0 svc 802.1ad 100
    vlan svc svc.30 802.1q 30
    ip addr add "10.1.0.$number/24" dev eth0
    ip addr add "10.1.10.$number/24" dev eth0.10
    ip addr add "10.1.20.$number/24" dev eth0.20
    ip addr add "10.1.130.$number/24" dev svc.30
}

# Until it answers, and at most for as long as others need to start.
passes() {
    name=$1
    shift
    for _ in $(seq 15); do
        if ping -c 1 -W 1 "$@" >/dev/null 2>&1; then
            echo "GUEST PASS $name"
            return
        fi
    done
    echo "GUEST FAIL $name"
}

case $part in
wait)
    lan
    echo "GUEST READY"
    sleep 300
    ;;
ping)
    lan
    passes untagged 10.1.0.2
    passes vlan10 10.1.10.2
    passes vlan20 10.1.20.2
    passes qinq 10.1.130.2
    passes big -s 1472 10.1.0.2
    passes big-vlan10 -s 1472 10.1.10.2
    passes big-qinq -s 1472 10.1.130.2
    ;;
filter)
    mkdir -p /dev/net /member
    cd /member || exit 1
    ip link add br0 type bridge vlan_filtering 1
    ip link set br0 up
    l2vpn key new -o own.key >/dev/null
    cat >site.toml <<END
[node]
key = "own.key"

[[segment]]
name = "lan"
id = 1

[[port]]
tap = "trunk0"
bridge = "br0"
vlans = [10, "20-22"]
native = 5

[[port]]
tap = "access0"
bridge = "br0"
mode = "access"
vlan = 30
END
    l2vpn up site.toml &
    sleep 5
    echo "GUEST FILTERS $(cat /sys/class/net/br0/bridge/vlan_filtering)"
    echo "GUEST VLANS trunk0: $(echo $(bridge -compressvlans vlan show dev trunk0 | grep -v port))"
    echo "GUEST VLANS access0: $(echo $(bridge -compressvlans vlan show dev access0 | grep -v port))"
    ;;
esac
echo "GUEST DONE"
poweroff -f
