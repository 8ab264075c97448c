"""Runs a whole OpenStack Swift, one process for each of its servers and one for its updaters.

usage: swiftd.py DIRECTORY USER IP ACCOUNT_PORT CONTAINER_PORT OBJECT_PORT

The directory holds swift.conf, a configuration file for each server, and receives the rings and a file "pids". What
Swift consists of is loaded once, before the processes part. They end with this one, and this one with any of them.
"""

import ctypes
import gc
import os
import signal
import sys
import time
from os import wait  # not eventlet's, which polls

from swift.common import utils

directory, user, ip = sys.argv[1:4]
ports = dict(zip(('account', 'container', 'object'), map(int, sys.argv[4:7])))

# /etc/swift/swift.conf belongs to the machine. The modules loaded below read their limits from this one.
utils.set_swift_dir(directory)
utils.eventlet_monkey_patch()

from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.wsgi import run_wsgi  # noqa: E402
import swift.account.server  # noqa: E402,F401
import swift.common.middleware.s3api.s3api  # noqa: E402,F401
import swift.container.server  # noqa: E402,F401
import swift.container.updater  # noqa: E402
import swift.obj.server  # noqa: E402,F401
import swift.obj.updater  # noqa: E402
import swift.proxy.server  # noqa: E402,F401

PR_SET_PDEATHSIG = 1
SWEEP_SECONDS = 1


def conf_of(role):
    return os.path.join(directory, role + '-server.conf')


def make_rings():
    """Two partitions, one replica of each."""
    for kind, port in ports.items():
        builder = RingBuilder(1, 1, 1)
        builder.add_dev({'id': 0, 'region': 1, 'zone': 1, 'ip': ip, 'port': port, 'device': 'd1', 'weight': 1, 'meta': ''})
        builder.rebalance()
        builder.get_ring().save(os.path.join(directory, kind + '.ring.gz'))


def run_updaters():
    """Brings listings and sums up to date that a server missed."""
    utils.drop_privileges(user)
    updaters = [
        cls(utils.readconf(conf_of(role), role + '-updater'))
        for cls, role in ((swift.obj.updater.ObjectUpdater, 'object'), (swift.container.updater.ContainerUpdater, 'container'))]
    while True:
        for updater in updaters:
            updater.run_once()
        time.sleep(SWEEP_SECONDS)


def fork(run):
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            code = run() or 0
    finally:
        os._exit(code)


def main():
    make_rings()
    # Each process patches again, which takes a second of work unless what is there by now is out of the collector's sight.
    gc.collect()
    gc.freeze()
    children = {role: fork(lambda: run_wsgi(conf_of(role), role + '-server', verbose=True))
                for role in ('account', 'container', 'object', 'proxy')}
    children['updater'] = fork(run_updaters)

    def end(*_):
        for pid in children.values():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    signal.signal(signal.SIGTERM, end)
    pids = os.path.join(directory, 'pids')
    with open(pids + '.new', 'w') as f:
        f.writelines('%s %d\n' % item for item in children.items())
    os.rename(pids + '.new', pids)
    for _ in children:
        wait()
        end()


main()
