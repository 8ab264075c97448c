"""Writes share containers of every version, by Tahoe-LAFS's own code, into the directory argv[1]: containers/NAME.N is the file
after step N of a history, server/ is what a storage server keeps after some requests, and crawlers/ is what its crawlers keep
after a cycle and within the next. All times and secrets are fixed, and so is the disk's block size."""
import functools
import hashlib
import os
import shutil
import sys
import time
import types

from twisted.internet.task import Clock

from allmydata.storage import immutable_schema, mutable_schema
from allmydata.storage.immutable import ShareFile
from allmydata.storage.lease import LeaseInfo
from allmydata.storage.mutable import MutableShareFile
from allmydata.storage.expirer import LeaseCheckingCrawler
from allmydata.storage.server import StorageServer
from allmydata.util import time_format

out = sys.argv[1]
NODE = b"the node of goldenpy"[:20]
NOW = 1_800_000_000


def secret(kind, n):
    return hashlib.sha256(b"%s %d" % (kind, n)).digest()


def body(size):
    return bytes(i * 7 % 251 for i in range(size))


def lease(n, after=0, owner=1):
    return LeaseInfo(owner, secret(b"renew", n), secret(b"cancel", n), NOW + after, NODE)


def history(name, path, steps):
    """Does the steps, and keeps the file after each."""
    for n, step in enumerate(steps):
        step()
        shutil.copyfile(path, os.path.join(out, "containers", "%s.%d" % (name, n)))
    os.remove(path)


def immutable(version):
    path = os.path.join(out, "share")
    schema = immutable_schema.schema_from_version(version)
    share = ShareFile(path, create=True, max_size=100, schema=schema)

    def now():
        return ShareFile(path)

    def create():
        share.add_lease(lease(0, owner=0))
        share.write_share_data(0, body(100))

    def add():
        for n in range(1, 4):
            now().add_or_renew_lease(1000, lease(n, n))

    history("immutable-v%d" % version, path, [
        create,
        add,
        lambda: now().renew_lease(secret(b"renew", 1), NOW + 100),
        lambda: now().renew_lease(secret(b"renew", 1), NOW + 50),
        lambda: now().cancel_lease(secret(b"cancel", 0)),
        lambda: now().add_or_renew_lease(1000, lease(3, 1000)),
    ])


def mutable(version):
    path = os.path.join(out, "share")
    schema, = [s for s in mutable_schema.ALL_SCHEMAS if s.version == version]
    share = MutableShareFile(path, schema=schema)

    def now():
        return MutableShareFile(path)

    def add():
        for n in range(6):
            now().add_or_renew_lease(1000, lease(n, n))

    history("mutable-v%d" % version, path, [
        lambda: share.create(NODE, secret(b"enabler", 0)),
        lambda: now().writev([(0, body(100))], None),
        add,
        lambda: now().writev([(50, body(100)), (10, b"overwritten")], None),
        lambda: now().writev([(400, b"behind a gap")], None),
        lambda: now().writev([], 30),
        lambda: now().writev([(60, b"in what was cut off"), (90, b"")], 1000),
        lambda: now().renew_lease(secret(b"renew", 5), NOW + 100),
        lambda: now().cancel_lease(secret(b"cancel", 1)),
        lambda: now().cancel_lease(secret(b"cancel", 4)),
        lambda: now().add_or_renew_lease(0, lease(7, 7)),
        lambda: now().add_or_renew_lease(0, lease(8, 8)),
        lambda: now().add_or_renew_lease(1000, lease(9, 9)),
    ])


def stat(_, path):
    s = os.stat(path)
    size = 4096 if os.path.isdir(path) else s.st_size
    return types.SimpleNamespace(st_size=size, st_blocks=(size + 511) // 512)


def index(n):
    return secret(b"index", n)[:16]


def server():
    """Does some requests, an hour apart, and returns the server and its clock."""
    clock = Clock()
    clock.advance(NOW)
    time.time = clock.seconds
    time_format.iso_utc = functools.partial(time_format.iso_utc, t=clock.seconds)
    LeaseCheckingCrawler.stat = stat
    s = StorageServer(os.path.join(out, "server"), NODE, clock=clock)

    def secrets(n):
        return secret(b"renew", n), secret(b"cancel", n)

    def update(n, updates, client=0):
        done, _ = s.slot_testv_and_readv_and_writev(index(n), (secret(b"enabler", 0), *secrets(client)), updates, [])
        assert done

    _, writers = s.allocate_buckets(index(0), *secrets(0), {0, 3}, 1000)
    for w in writers.values():
        for at in (500, 0):
            w.write(at, body(1000)[at:at + 500])
        w.close()
    clock.advance(3600)
    s.add_lease(index(0), *secrets(1))
    clock.advance(3600)
    s.renew_lease(index(0), secret(b"renew", 0))
    s.allocate_buckets(index(0), *secrets(2), {3}, 1000)

    update(1, {0: ([], [(0, body(300))], None), 5: ([], [(10, body(20))], None)})
    clock.advance(3600)
    update(1, {0: ([(0, 4, b"eq", body(4))], [(250, body(300))], 400)}, client=1)
    update(1, {5: ([], [], 0), 6: ([], [(0, b"another")], None)})
    s.add_lease(index(1), *secrets(2))
    s.renew_lease(index(1), secret(b"renew", 2))
    s.advise_corrupt_share(b"mutable", index(1), 0, b"as a test")
    return s, clock


def crawl(s, clock):
    """Crawls ten days later, when one share cannot be read."""
    clock.advance(10 * 24 * 3600)
    damaged = os.path.join(s.sharedir, "22", "22" + "a" * 24, "1")
    os.makedirs(os.path.dirname(damaged))
    with open(damaged, "wb") as f:
        f.write(b"no container")
    os.makedirs(os.path.join(out, "crawlers"))
    for crawler in (s.bucket_counter, s.lease_checker):
        path = crawler._state_serializer._path
        crawler.cpu_slice = 1000
        crawler.start_slice()
        os.rename(path.path, os.path.join(out, "crawlers", path.basename() + ".between"))
        crawler.cpu_slice = 0 # a bucket or a prefix
        clock.advance(1000)
        while crawler.last_complete_prefix_index < 500 and crawler.state["last-complete-bucket"] != os.listdir(
                os.path.join(s.sharedir, "26"))[0]:
            crawler.start_slice()
        os.rename(path.path, os.path.join(out, "crawlers", path.basename() + ".within"))
    history = s.lease_checker._history_serializer._path
    os.rename(history.path, os.path.join(out, "crawlers", history.basename()))
    shutil.rmtree(os.path.dirname(os.path.dirname(damaged)))


os.makedirs(os.path.join(out, "containers"))
for v in (1, 2):
    immutable(v)
    mutable(v)
crawl(*server())
