package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
)

// kind names a secret of the X-Tahoe-Authorization header ("HTTP Design" of the specification).
type kind string

const (
	leaseRenew   kind = "lease-renew-secret"
	leaseCancel  kind = "lease-cancel-secret"
	upload       kind = "upload-secret"
	writeEnabler kind = "write-enabler"
)

// authorizationHeader carries secrets, one a line: KIND BASE64.
const authorizationHeader = "X-Tahoe-Authorization"

// secretSize is the length of all secrets but the upload secret, which may have any.
const secretSize = 32

// secrets are what a request has presented.
type secrets map[kind][]byte

// parseSecrets reads the secrets of a request. Those that its endpoint needs must be there, each once, and no others; anything
// else is 400, as the specification says: who sends garbage is not asked for authorization. Nothing of a value is repeated in an error.
func parseSecrets(lines []string, want []kind) (secrets, error) {
	if len(lines) > len(want) {
		return nil, problem(http.StatusBadRequest, "%d secrets in %s, want %d", len(lines), authorizationHeader, len(want))
	}
	found := secrets{}
	for _, line := range lines {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		k := kind(name)
		if !slices.Contains(want, k) {
			return nil, problem(http.StatusBadRequest, "%s has a secret that this request does not take", authorizationHeader)
		}
		if _, twice := found[k]; twice {
			return nil, problem(http.StatusBadRequest, "%s has the %s twice", authorizationHeader, k)
		}
		value, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(text))
		if err != nil || len(value) == 0 {
			return nil, problem(http.StatusBadRequest, "the %s is not base64", k)
		}
		if k != upload && len(value) != secretSize {
			return nil, problem(http.StatusBadRequest, "the %s has %d bytes, want %d", k, len(value), secretSize)
		}
		found[k] = value
	}
	for _, k := range want {
		if _, ok := found[k]; !ok {
			return nil, problem(http.StatusBadRequest, "%s lacks the %s", authorizationHeader, k)
		}
	}
	return found, nil
}

// fixed returns a secret as an array: parseSecrets has checked its length.
func (s secrets) fixed(k kind) [secretSize]byte { return [secretSize]byte(s[k]) }

// digest stands for a secret of any length: two can be compared in constant time, and it tells nothing of the secret.
type digest [sha256.Size]byte

func digestOf(secret []byte) digest { return sha256.Sum256(secret) }

func (d digest) is(other digest) bool { return subtle.ConstantTimeCompare(d[:], other[:]) == 1 }

// credentials returns what a client that knows the swissnum sends as its Authorization.
func credentials(swissnum string) string {
	return "Tahoe-LAFS " + base64.StdEncoding.EncodeToString([]byte(swissnum))
}

// authorized returns whether a request has the swissnum.
func (s *Server) authorized(r *http.Request) bool {
	return digestOf([]byte(r.Header.Get("Authorization"))).is(s.credentials)
}
