"""Tahoe-LAFS's storage server on the directory argv[1], which another server has used before and will use again. Does what golden.py's
clients do, by lines of standard input: a number of a turn. Each turn reads everything that the turns before have left, whoever did
them, and changes all of it."""
import hashlib
import os
import sys
import time

from twisted.internet.task import Clock

from allmydata.storage.mutable import MutableShareFile
from allmydata.storage.server import StorageServer
from allmydata.storage.shares import get_share_file

NODE = b"the node of goldenpy"[:20]
NOW = 1_800_000_000


def secret(kind, n):
    return hashlib.sha256(b"%s %d" % (kind, n)).digest()


def index(n):
    return secret(b"index", n)[:16]


def body(turn, size):
    return secret(b"body", turn) * (size // 32)


def share_path(s, n, number):
    return dict(s.get_shares(index(n)))[number]


def take_turn(s, turn):
    secrets = (secret(b"renew", turn), secret(b"cancel", turn))
    # What was there: a share for each turn, and the slot 1000 that each turn changes.
    for t in range(turn):
        buckets = s.get_buckets(index(t))
        assert buckets[t].read(0, 1 << 20) == body(t, 3200), t
        leases = list(get_share_file(share_path(s, t, t)).get_leases())
        assert len(leases) == turn - t, (t, len(leases))
    read = s.slot_readv(index(1000), [], [(0, 1 << 20)])
    assert set(read) == ({0} if turn else set()), read
    if turn:
        assert read[0] == [b"".join(body(t, 320) for t in range(turn))], "the slot"
        assert len(list(MutableShareFile(share_path(s, 1000, 0)).get_leases())) == turn
    # Its own share, a lease on all others, and its part of the slot.
    _, writers = s.allocate_buckets(index(turn), *secrets, {turn}, 3200)
    writers[turn].write(0, body(turn, 3200))
    writers[turn].close()
    for t in range(turn):
        s.add_lease(index(t), *secrets)
        s.renew_lease(index(t), secret(b"renew", t))
    old = [(0, 320, b"eq", body(0, 320) if turn else b"")]
    done, _ = s.slot_testv_and_readv_and_writev(
        index(1000), (secret(b"enabler", 0), *secrets), {0: (old, [(turn * 320, body(turn, 320))], None)}, [])
    assert done
    # A slot that is there every other turn.
    gone, _ = s.slot_testv_and_readv_and_writev(
        index(1001), (secret(b"enabler", 0), *secrets),
        {0: ([], [], 0)} if turn % 2 else {0: ([(0, 1, b"eq", b"")], [(0, b"here")], None)}, [])
    assert gone


def crawl(s, turn):
    """Goes on with the crawl that was begun, to its end, and begins another one."""
    for crawler in (s.bucket_counter, s.lease_checker):
        crawler.cpu_slice = 1000
        crawler.start_slice()
        assert crawler.state["last-cycle-finished"] == turn, crawler.state["last-cycle-finished"]
    # A crawl that was begun before this turn may have missed what is new, and seen what is gone.
    buckets = turn + 2
    seen = s.lease_checker.get_state()["history"][str(turn)]
    assert abs(seen["space-recovered"]["examined-buckets"] - buckets) <= 1, (buckets, seen)
    time.time = ticking
    for crawler in (s.bucket_counter, s.lease_checker):
        crawler.cpu_slice = 1.5
        crawler.start_slice()
        assert crawler.state["current-cycle"] == turn + 1


def ticking():
    clock.advance(0.001)
    return clock.seconds()


clock = Clock()
print("done", flush=True)
for line in sys.stdin:
    turn = int(line)
    clock.advance(NOW + turn * 3600 - clock.seconds())
    time.time = clock.seconds
    server = StorageServer(sys.argv[1], NODE, clock=clock)
    take_turn(server, turn)
    crawl(server, turn)
    print("done", flush=True)
