package stores

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"syscall"

	"sharefs/provider"
)

// Advice says what to do about an error of a store; empty when there is nothing that could be said for all stores.
func Advice(err error) string {
	switch provider.KindOf(err) {
	case provider.KindNoStore:
		return "check the name, or make it first, with: sharefs create STORE"
	case provider.KindAuth:
		return "check the credentials, and the clock of this machine"
	case provider.KindDenied:
		return "these credentials may not use it; to read only, mount with --read-only"
	case provider.KindQuota:
		return "raise the quota, or delete something"
	case provider.KindThrottled:
		return "the store is asked too much: try again later"
	case provider.KindUnavailable:
		return network(err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return network(err)
	}
	return ""
}

// network tells apart why a server gave no answer.
func network(err error) string {
	const general = "check the endpoint and the network"
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	var host x509.HostnameError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &name):
		return general + ": the name of the server " + name.Name + " cannot be looked up"
	case errors.As(err, &host):
		return general + ": the certificate is for another name"
	case errors.As(err, &certificate):
		return general + ": the certificate of the server is not trusted here (an authority of your own belongs to those that the system trusts)"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return general + ": the server does not speak TLS there: is it http:// instead of https://?"
	case errors.Is(err, syscall.ECONNREFUSED):
		return general + ": nobody listens there, the port may be wrong"
	}
	return general
}
