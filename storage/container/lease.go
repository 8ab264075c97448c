package container

import (
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"math"
	"strings"
	"time"

	"golang.org/x/crypto/blake2b"
)

// SecretSize is the number of bytes of a secret.
const SecretSize = 32

// Secret is what a client shows to renew or cancel a lease, or to change a mutable share. It is never printed.
type Secret [SecretSize]byte

// String hides the secret.
func (Secret) String() string { return "(secret)" }

// GoString hides the secret.
func (Secret) GoString() string { return "(secret)" }

// Equal compares in constant time.
func (s Secret) Equal(other Secret) bool { return subtle.ConstantTimeCompare(s[:], other[:]) == 1 }

// NodeID names the storage node that accepted a secret.
type NodeID [nodeSize]byte

const nodeSize = 20

// String returns the id in the base 32 of Tahoe-LAFS.
func (id NodeID) String() string { return base32Text(id[:]) }

// base32Text is RFC 3548's base 32 in lower case, without padding.
func base32Text(b []byte) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

// LeaseDuration is how long a lease holds a share after it was made or renewed.
const LeaseDuration = 31 * 24 * time.Hour

// NewLease is a lease as a client asks for it.
type NewLease struct {
	Owner   uint32
	Renew   Secret
	Cancel  Secret
	Expires time.Time
	Node    NodeID // in mutable containers
}

// Lease is a lease as a container has it.
type Lease struct {
	Owner   uint32    // 0 in a mutable container is an empty place
	Expires time.Time // whole seconds
	Hashed  bool      // the secrets are hashes
	Node    NodeID    // in mutable containers
	renew   Secret
	cancel  Secret
}

// Renewed is when the lease was made or last renewed: a guess, because a container keeps only when it ends.
func (l Lease) Renewed() time.Time { return l.Expires.Add(-LeaseDuration) }

// RenewedBy reports whether a client with this secret may renew the lease.
func (l Lease) RenewedBy(renew Secret) bool { return l.renew.Equal(l.stored(renew)) }

// stored returns a secret as the lease's container keeps it.
func (l Lease) stored(s Secret) Secret {
	if l.Hashed {
		return blake2b.Sum256(s[:])
	}
	return s
}

// made returns a lease as a container of a version keeps it.
func (n NewLease) made(version int) Lease {
	l := Lease{Owner: n.Owner, Expires: time.Unix(stamp(n.Expires), 0).UTC(), Hashed: version >= 2, Node: n.Node}
	l.renew, l.cancel = l.stored(n.Renew), l.stored(n.Cancel)
	return l
}

// stamp is a time as a lease has it: seconds since 1970 in 32 bits, which end in 2106.
func stamp(t time.Time) int64 { return min(max(t.Unix(), 0), math.MaxUint32) }

// Sizes of the records.
const (
	immutableEndsAt = 4 + 2*SecretSize
	immutableLease  = immutableEndsAt + 4
	mutableLease    = 4 + 4 + 2*SecretSize + nodeSize
)

// encodeImmutable returns the record: owner, renew secret, cancel secret, end.
func (l Lease) encodeImmutable() []byte {
	b := make([]byte, 0, immutableLease)
	b = binary.BigEndian.AppendUint32(b, l.Owner)
	b = append(b, l.renew[:]...)
	b = append(b, l.cancel[:]...)
	return binary.BigEndian.AppendUint32(b, uint32(stamp(l.Expires)))
}

func decodeImmutable(b []byte, version int) Lease {
	l := Lease{Owner: binary.BigEndian.Uint32(b), Hashed: version >= 2}
	b = b[4:]
	b = b[copy(l.renew[:], b):]
	b = b[copy(l.cancel[:], b):]
	l.Expires = time.Unix(int64(binary.BigEndian.Uint32(b)), 0).UTC()
	return l
}

// encodeMutable returns the record: owner, end, renew secret, cancel secret, node.
func (l Lease) encodeMutable() []byte {
	b := make([]byte, 0, mutableLease)
	b = binary.BigEndian.AppendUint32(b, l.Owner)
	b = binary.BigEndian.AppendUint32(b, uint32(stamp(l.Expires)))
	b = append(b, l.renew[:]...)
	b = append(b, l.cancel[:]...)
	return append(b, l.Node[:]...)
}

func decodeMutable(b []byte, version int) Lease {
	l := Lease{Owner: binary.BigEndian.Uint32(b), Hashed: version >= 2}
	l.Expires = time.Unix(int64(binary.BigEndian.Uint32(b[4:])), 0).UTC()
	b = b[8:]
	b = b[copy(l.renew[:], b):]
	b = b[copy(l.cancel[:], b):]
	copy(l.Node[:], b)
	return l
}
