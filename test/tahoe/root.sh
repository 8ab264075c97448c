# Makes a Debian root with Tahoe-LAFS 1.20 in the empty directory $1. Runs as root, in a mount namespace of its own. The mirror
# and the proxy are those that apt uses here.
set -euo pipefail
root=$1
unset TMPDIR # it is not there in the root

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' |
	grep -v security | head -n 1 || true)
eval "$(apt-config shell proxy Acquire::http::Proxy)"
if [ -n "${proxy:-}" ] && [ "$proxy" != DIRECT ]; then export http_proxy=$proxy; fi

debootstrap --variant=minbase trixie "$root" ${mirror:+"$mirror"}

# Its own requirements. The package depends on nothing, and its tests want more than the program.
python=(foolscap six zfec pycddl klein txtorcon cbor2 treq eliot autobahn attr werkzeug pyrsistent netifaces psutil yaml distro
	filelock collections-extended cryptography bcrypt hyperlink zope.interface twisted fixtures service-identity pkg-resources
	txi2p-tahoe html5lib bs4 prometheus-client paramiko pyutil legacy-cgi hypothesis testtools subunit)
mount -t proc proc "$root/proc"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
chroot "$root" apt-get install -y -q --no-install-recommends tahoe-lafs magic-wormhole "${python[@]/#/python3-}"
chroot "$root" apt-get clean
chroot "$root" python3 -c 'import allmydata; assert allmydata.__version__.startswith("1.20."), allmydata.__version__'
umount "$root/proc"
