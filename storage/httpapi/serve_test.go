package httpapi

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sharefs/storage"
)

// eventually is how long a test waits for what must happen.
const eventually = time.Minute

// serving is a server that listens.
type serving struct {
	*world
	address string
	client  *http.Client
	stop    func() error
}

// key is the identity of all tests: making one takes a while.
var key = must(NewIdentity(time.Now()))

func serve(t *testing.T, o Options) *serving {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, o, listener)
}

func serveOn(t *testing.T, o Options, listener net.Listener) *serving {
	t.Helper()
	w := newWorld(t, storage.Options{}, o)
	identity, err := ParseIdentity(key)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.server.Serve(ctx, listener, identity, eventually) }()
	// As a client does it: nothing but the hash of the key counts.
	pin := func(raw [][]byte, _ [][]*x509.Certificate) error {
		c, err := x509.ParseCertificate(raw[0])
		if err != nil {
			return err
		}
		sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		if base64.RawURLEncoding.EncodeToString(sum[:]) != identity.Hash() {
			return errors.New("another key")
		}
		return nil
	}
	s := &serving{world: w, address: listener.Addr().String(), client: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyPeerCertificate: pin}, ForceAttemptHTTP2: true}}}
	var stopped error
	done := false
	s.stop = func() error {
		if !done {
			done = true
			s.client.CloseIdleConnections()
			cancel()
			stopped = <-ended
		}
		return stopped
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// send sends a request over the network.
func (s *serving) send(a ask) (*http.Response, error) {
	r := a.request()
	r.RequestURI, r.URL.Scheme, r.URL.Host, r.Host = "", "https", s.address, s.address
	return s.client.Do(r)
}

// get sends a request and returns the answer.
func (s *serving) get(code int, a ask) []byte {
	s.t.Helper()
	res, err := s.send(a)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != code {
		s.t.Fatalf("%s %s: %s %s %v, want %d", a.method, a.path, res.Status, body, err, code)
	}
	return body
}

func TestServeOverTLS(t *testing.T) {
	s := serve(t, Options{})
	res, err := s.send(ask{method: "GET", path: "version"})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK || res.ProtoMajor != 1 {
		t.Errorf("%s over %s", res.Status, res.Proto)
	}
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	s.get(http.StatusOK, s.allocation(len(data), 1))
	for at := 0; at < len(data); at += 300_000 {
		code, end := http.StatusOK, min(at+300_000, len(data))
		if end == len(data) {
			code = http.StatusCreated
		}
		s.get(code, patch(span{int64(at), int64(end)}.header(), string(data[at:end])))
	}
	if got := s.get(http.StatusOK, ask{method: "GET", path: "immutable/" + index + "/1"}); !bytes.Equal(got, data) {
		t.Errorf("%d bytes come back, or others", len(got))
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if _, err := s.send(ask{method: "GET", path: "version"}); err == nil {
		t.Error("it answers after its end")
	}
}

// TestTheAnswerToALargeRequestArrives: also when the server knows it before the body is there.
func TestTheAnswerToALargeRequestArrives(t *testing.T) {
	s := serve(t, Options{})
	s.get(http.StatusOK, s.allocation(3<<20, 1))
	large := patch(span{0, 3 << 20}.header(), strings.Repeat("x", 3<<20))
	large.secrets = intruder
	for range 5 {
		s.get(http.StatusUnauthorized, large)
	}
	large.secrets = chunk
	s.get(http.StatusCreated, large)
}

func TestNURL(t *testing.T) {
	identity, err := ParseIdentity(key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(identity.certificate.PrivateKey.(*rsa.PrivateKey).Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	nurl, err := identity.NURL("example.org:3457", swissnum)
	want := "pb://" + base64.RawURLEncoding.EncodeToString(sum[:]) + "@example.org:3457/" + swissnum + "#v=1"
	if err != nil || nurl != want {
		t.Errorf("the NURL is %s, %v, want %s", nurl, err, want)
	}
	if nurl, err := identity.NURL("[::1]:3457", "x"); err != nil || !strings.Contains(nurl, "@[::1]:3457/x#v=1") {
		t.Errorf("the NURL is %s, %v", nurl, err)
	}
	if _, err := identity.NURL("example.org", "x"); err == nil {
		t.Error("a NURL without a port")
	}
	for _, text := range []string{"", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", string(key[:len(key)/2])} {
		if _, err := ParseIdentity([]byte(text)); err == nil {
			t.Errorf("%q is an identity", text)
		}
	}
	if left := time.Until(identity.certificate.Leaf.NotAfter); left < 50*365*24*time.Hour {
		t.Errorf("the certificate is valid for %v", left)
	}
}
