package httpapi

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
)

// Identity is the key and certificate of a server. Clients know it by the hash of its public key and believe nothing else, neither
// authorities nor names nor dates ("TLS" of the specification).
type Identity struct{ certificate tls.Certificate }

// certificateYears is how long a new certificate is valid. The specification recommends decades: no client looks at it.
const certificateYears = 100

// ParseIdentity reads a certificate and its private key from the text of one file, private/node.pem of a Tahoe-LAFS node, in any order.
func ParseIdentity(text []byte) (Identity, error) {
	certificate, err := tls.X509KeyPair(text, text)
	if err != nil {
		return Identity{}, err
	}
	if certificate.Leaf == nil {
		return Identity{}, errors.New("no certificate")
	}
	return Identity{certificate}, nil
}

// NewIdentity makes a key and a certificate and returns them as ParseIdentity reads them. The key is of the kind that
// Tahoe-LAFS makes, so that its own node can go on with it.
func NewIdentity(now time.Time) ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: "Tahoe-LAFS storage node"},
		NotBefore:    now.Add(-24 * time.Hour), // clocks differ
		NotAfter:     now.AddDate(certificateYears, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	for _, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: der}, {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := pem.Encode(&text, block); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}

// Hash is what clients know the server by: the SHA-256 of the certificate's SubjectPublicKeyInfo, as RFC 7469 section 2.4 has it, in
// base64 for URLs without padding.
func (i Identity) Hash() string {
	sum := sha256.Sum256(i.certificate.Leaf.RawSubjectPublicKeyInfo)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Certificate returns the certificate in DER. Foolscap's name of a node, its tub id, is made from it.
func (i Identity) Certificate() []byte { return i.certificate.Leaf.Raw }

// TLS returns the configuration for listening. The protocol is HTTP/1.1.
func (i Identity) TLS() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{i.certificate},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
	}
}

// NURL is how a client finds a server, knows it, and may use it: pb://HASH@HOST:PORT/SWISSNUM#v=1. It is as secret as the swissnum.
func (i Identity) NURL(address, swissnum string) (string, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return "", fmt.Errorf("address of the NURL: %w", err)
	}
	u := url.URL{Scheme: "pb", User: url.User(i.Hash()), Host: address, Path: "/" + swissnum, Fragment: "v=1"}
	return u.String(), nil
}
