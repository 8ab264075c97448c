"""Tahoe-LAFS's client of the storage protocol (allmydata.storage.http_client), which checks each answer against the schemas of the
specification, at the server whose NURL is argv[1]. Goes through all calls and the errors that it can cause."""
import sys
from os import urandom

from hyperlink import DecodedURL
from twisted.internet.task import react
from twisted.web.http_headers import Headers

from allmydata.storage.http_client import (
    ClientException, ImmutableCreateResult, ReadVector, StorageClientFactory, StorageClientGeneral, StorageClientImmutables,
    StorageClientMutables, TestVector, TestWriteVectors, WriteVector, _encode_si)

V1 = b"http://allmydata.org/tahoe/protocols/storage/v1"


async def refused(code, call):
    try:
        await call
    except ClientException as e:
        assert e.code == code, (e.code, code)
    else:
        raise AssertionError(f"not refused with {code}")


async def general(client):
    version = await StorageClientGeneral(client).get_version()
    assert version[V1][b"available-space"] > 0, version
    assert version[b"application-version"].startswith(b"sharefs/"), version


async def immutable(client):
    shares, everything = StorageClientImmutables(client), StorageClientGeneral(client)
    si, upload, lease = urandom(16), urandom(32), urandom(32)
    data = bytes(range(100))
    want = ImmutableCreateResult(already_have=set(), allocated={1, 2})
    for _ in range(2):
        assert await shares.create(si, {1, 2}, 100, upload, lease, lease) == want

    async def write(offset, end, key=upload, number=1):
        return await shares.write_share_chunk(si, number, key, offset, data[offset:end])

    progress = await write(10, 20)
    assert not progress.finished
    assert [(start, end) for start, end, _ in progress.required.ranges()] == [(0, 10), (20, 100)]
    await refused(401, write(0, 10, key=upload + b"X"))
    await refused(404, write(0, 10, number=7))
    await refused(409, shares.write_share_chunk(si, 1, upload, 10, b"x" * 10))
    await refused(404, shares.read_share_chunk(si, 1, 0, 10))
    assert await shares.list_shares(si) == set()
    await write(0, 15)
    for _ in range(2):
        assert (await write(20, 100)).finished
    assert await shares.list_shares(si) == {1}
    for offset, length in [(0, 100), (10, 19), (99, 1), (49, 200), (100, 10)]:
        assert await shares.read_share_chunk(si, 1, offset, length) == data[offset:offset + length]
    await refused(405, shares.abort_upload(si, 1, upload))
    await refused(404, shares.abort_upload(si, 7, upload))
    await refused(401, shares.abort_upload(si, 2, b"X"))
    await shares.abort_upload(si, 2, upload)
    assert await shares.create(si, {1, 2}, 100, urandom(2), lease, lease) == ImmutableCreateResult(already_have={1}, allocated={2})
    for secret in (lease, urandom(32)):
        await everything.add_or_renew_lease(si, secret, secret)
    await refused(404, everything.add_or_renew_lease(urandom(16), lease, lease))
    await shares.advise_corrupt_share(si, 1, "OHNO \u1235")
    await refused(404, shares.advise_corrupt_share(si, 9, "OHNO"))
    await ranges(client, "immutable", si)


async def ranges(client, kind, si):
    """As test_storage_http has them."""
    url = client.relative_url("/storage/v1/{}/{}/1".format(kind, _encode_si(si)))
    for text in ["molluscs=0-9", "bytes=-2-9", "bytes=0--10", "bytes=-300-", "bytes=", "bytes=0-5, 6-7", "bytes=0-"]:
        response = await client.request("GET", url, headers=Headers({"range": [text]}))
        assert response.code == 416, (text, response.code)
        await response.content()
    for text, answered in [("bytes=0-10", "bytes 0-10/*"), ("bytes=3-17", "bytes 3-17/*")]:
        response = await client.request("GET", url, headers=Headers({"range": [text]}))
        assert response.headers.getRawHeaders("content-range") == [answered], answered
        await response.content()


async def mutable(client):
    slots, everything = StorageClientMutables(client), StorageClientGeneral(client)
    si, enabler, lease = urandom(16), urandom(32), urandom(32)

    async def change(shares, read=(), key=enabler):
        return await slots.read_test_write_chunks(si, key, lease, lease, shares, list(read))

    data = b"abcdefghij" * 5 * 1024 * 1024
    await change({0: TestWriteVectors(write_vectors=[WriteVector(0, b"abcdef-0")]), 1: TestWriteVectors(write_vectors=[WriteVector(0, data)])})
    assert await slots.list_shares(si) == {0, 1}
    result = await change({0: TestWriteVectors(write_vectors=[WriteVector(1, b"XYZ")])}, [ReadVector(0, 8)])
    assert result.success and result.reads == {0: [b"abcdef-0"], 1: [data[:8]]}, result
    assert await slots.read_share_chunk(si, 0, 0, 100) == b"aXYZef-0"
    assert await slots.read_share_chunk(si, 1, 0, 1 << 20) == data[:1 << 20]
    result = await change({0: TestWriteVectors(test_vectors=[TestVector(1, 4, b"FAIL")], write_vectors=[WriteVector(1, b"!")])})
    assert not result.success
    await refused(401, change({0: TestWriteVectors(write_vectors=[WriteVector(1, b"!")])}, key=urandom(32)))
    await ranges(client, "mutable", si)
    await everything.add_or_renew_lease(si, lease, lease)
    await slots.advise_corrupt_share(si, 1, "OHNO \u1235")
    assert (await change({0: TestWriteVectors(new_length=0), 1: TestWriteVectors(new_length=0)})).success
    assert await slots.list_shares(si) == set()


async def main(reactor):
    nurl = DecodedURL.from_text(sys.argv[1])
    client = await StorageClientFactory({"tcp": "tcp"}, None).create_storage_client(nurl, reactor)
    for calls in (general, immutable, mutable):
        await calls(client)
    stranger = await StorageClientFactory({"tcp": "tcp"}, None).create_storage_client(nurl.replace(path=["x"]), reactor)
    await refused(401, StorageClientGeneral(stranger).get_version())
    await stranger.shutdown()
    await client.shutdown()
    print("done")


def run(reactor):
    from twisted.internet.defer import ensureDeferred
    return ensureDeferred(main(reactor))


react(run)
