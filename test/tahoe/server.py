"""Tahoe-LAFS's storage server with its storage directory in argv[1]. Does what the lines of its standard input say, and answers each
with a line: done."""
import hashlib
import sys

from allmydata.storage.server import StorageServer

SHARES, SIZE, STEP = 20, 1 << 20, 128 << 10
SLOTS, UPDATES = 5, 8

server = StorageServer(sys.argv[1], b"n" * 20)


def secret(kind, n):
    return hashlib.sha256(b"%s %d" % (kind, n)).digest()


def index(kind, n):
    return secret(kind, n)[:16]


def body(n):
    return secret(b"body", n) * (SIZE // 32)


def add_leases(kind):
    for n in range(SHARES):
        server.add_lease(index(b"share", n), secret(kind, n), secret(b"cancel", n))


def store():
    for n in range(SHARES):
        _, writers = server.allocate_buckets(
            index(b"share", n), secret(b"first", n), secret(b"cancel", n), {0}, SIZE)
        for at in range(0, SIZE, STEP):
            writers[0].write(at, body(n)[at:at + STEP])
        writers[0].close()


def update():
    for n in range(SLOTS):
        secrets = (secret(b"enabler", n), secret(b"first", n), secret(b"cancel", n))
        for u in range(UPDATES):
            written, _ = server.slot_testv_and_readv_and_writev(
                index(b"slot", n), secrets, {0: ([], [(u * 3000, b"%d" % u * 5000)], None)}, [])
            assert written


def read():
    for n in range(SHARES):
        assert server.get_buckets(index(b"share", n))[0].read(0, SIZE) == body(n)
        assert len(list(server.get_leases(index(b"share", n)))) == 2
    for n in range(SLOTS):
        ((data,),) = server.slot_readv(index(b"slot", n), [0], [(0, 1 << 20)]).values()
        assert data == b"".join(b"%d" % u * 3000 for u in range(UPDATES)) + b"%d" % (UPDATES - 1) * 2000
        assert len(list(server.get_slot_leases(index(b"slot", n)))) == 1


def crawl():
    for crawler in (server.bucket_counter, server.lease_checker):
        cycle = crawler.get_state()["last-cycle-finished"]
        crawler.cpu_slice = 1000  # seconds
        crawler.start_slice()
        assert crawler.get_state()["last-cycle-finished"] != cycle
    assert server.bucket_counter.get_state()["last-complete-bucket-count"] == SHARES + SLOTS
    seen = server.lease_checker.get_state()["history"][str(crawler.get_state()["last-cycle-finished"])]
    assert seen["space-recovered"]["examined-shares"] == SHARES + SLOTS, seen
    assert seen["leases-per-share-histogram"] == {"1": SLOTS, "2": SHARES}, seen


orders = {
    "store": store, "renew": lambda: add_leases(b"first"), "add": lambda: add_leases(b"second"),
    "update": update, "read": read, "crawl": crawl,
}
print("done", flush=True)
for line in sys.stdin:
    orders[line.strip()]()
    print("done", flush=True)
