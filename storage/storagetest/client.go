package storagetest

import (
	"crypto/sha256"
	"fmt"

	"sharefs/storage"
)

// Node is the id of the node that stores of tests are of. It is that of test/tahoe/golden.py, and so are the secrets below.
var Node = storage.NodeID([]byte("the node of goldenpy"))

// Secret is a secret of the n-th client, or of the n-th of anything.
func Secret(kind string, n int) storage.Secret {
	return sha256.Sum256(fmt.Appendf(nil, "%s %d", kind, n))
}

// Index is the n-th storage index.
func Index(n int) storage.Index {
	s := Secret("index", n)
	return storage.Index(s[:16])
}

// Lease is what the n-th client holds shares by.
func Lease(n int) storage.LeaseSecrets {
	return storage.LeaseSecrets{Renew: Secret("renew", n), Cancel: Secret("cancel", n)}
}

// Slot is what the n-th client changes slots by.
func Slot(n int) storage.SlotSecrets {
	return storage.SlotSecrets{WriteEnabler: Secret("enabler", n), Lease: Lease(n)}
}
