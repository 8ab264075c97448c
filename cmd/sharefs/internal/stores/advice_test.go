package stores_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"sharefs/cmd/sharefs/internal/stores"
	"sharefs/provider"
)

func TestAdviceTellsApartWhatIsWrong(t *testing.T) {
	unavailable := func(cause error) error {
		return &provider.Error{Op: "list", Kind: provider.KindUnavailable, Err: fmt.Errorf("no answer: %w", cause)}
	}
	for _, c := range []struct {
		err  error
		says string
	}{
		{&provider.Error{Kind: provider.KindNoStore}, "sharefs create"},
		{&provider.Error{Kind: provider.KindAuth}, "the credentials, and the clock"},
		{&provider.Error{Kind: provider.KindDenied}, "--read-only"},
		{&provider.Error{Kind: provider.KindQuota}, "quota"},
		{&provider.Error{Kind: provider.KindThrottled}, "later"},
		{unavailable(&net.DNSError{Name: "no.such"}), "no.such cannot be looked up"},
		{unavailable(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), "nobody listens"},
		{unavailable(x509.HostnameError{Certificate: &x509.Certificate{}}), "for another name"},
		{unavailable(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), "not trusted"},
		{unavailable(&tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{}}}), "for another name"},
		{unavailable(http.ErrSchemeMismatch), "does not speak TLS"},
		{unavailable(errors.New("broken pipe")), "check the endpoint and the network"},
		{context.DeadlineExceeded, "check the endpoint and the network"},
		{&provider.Error{Kind: provider.KindInvalid}, ""},
		{errors.New("other"), ""},
	} {
		if got := stores.Advice(c.err); !strings.Contains(got, c.says) || (got == "") != (c.says == "") {
			t.Errorf("%v: %q, want %q", c.err, got, c.says)
		}
	}
}
