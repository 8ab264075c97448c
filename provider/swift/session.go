package swift

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/ncw/swift/v2"

	"sharefs/provider"
	"sharefs/provider/overhttp"
)

// session keeps a token, and exchanges it for another one when the cluster refuses it. All requests share it: when a token
// ends while many are under way, one logs in for all.
type session struct {
	http *overhttp.Clients
	find func() (access, error) // asked for each login: a password may have changed

	turn chan struct{} // holds one while somebody logs in, or looks at grant
	have grant         // guarded by turn
}

// grant is what a login gives.
type grant struct {
	token, storage string
}

func newSession(clients *overhttp.Clients, find func() (access, error)) *session {
	return &session{http: clients, find: find, turn: make(chan struct{}, 1)}
}

// token returns a token that is not the refused one, of which there may be none (""). It logs in if it has no other, or
// looks whether it was given another one meanwhile when there is nothing to log in with.
func (s *session) token(ctx context.Context, refused string) (grant, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return grant{}, ctx.Err()
	}
	defer func() { <-s.turn }()
	if s.have.token != "" && s.have.token != refused {
		return s.have, nil
	}
	where, err := s.find()
	if err != nil {
		return grant{}, err
	}
	if where.fixedToken() {
		if where.Token == refused {
			return grant{}, &provider.Error{Op: "open", Kind: provider.KindAuth,
				Err: errors.New("the token is refused, and there is nothing to ask for another one with: give a new OS_AUTH_TOKEN, or " + whereSecretsGo)}
		}
		s.have = grant{token: where.Token, storage: where.StorageURL}
		return s.have, nil
	}
	g, err := s.login(ctx, where)
	if err == nil {
		s.have = g
	}
	return g, err
}

// login asks for a token, by the client library, which knows the protocols.
func (s *session) login(ctx context.Context, where access) (grant, error) {
	conn := where.connection()
	conn.Transport = s.http.Usual.Transport
	conn.ConnectTimeout, conn.Timeout = s.http.Timeout, s.http.Timeout
	// It takes a token that ends within a minute for none, and one without an endpoint too.
	if err := conn.Authenticate(ctx); err != nil && conn.AuthToken == "" {
		return grant{}, err
	}
	g := grant{token: conn.AuthToken, storage: conn.StorageUrl}
	if where.StorageURL != "" {
		g.storage = where.StorageURL
	}
	if g.storage == "" {
		return grant{}, where.noEndpoint()
	}
	return g, nil
}

// loginFailed makes the error of a method from that of a login.
func loginFailed(ctx context.Context, op string, err error) error {
	return loginFailedFor(ctx, request{op: op}, err)
}

func loginFailedFor(ctx context.Context, r request, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var pe *provider.Error
	if errors.As(err, &pe) {
		return &provider.Error{Op: r.op, Key: r.key, Kind: pe.Kind, Err: pe.Err}
	}
	failed := &provider.Error{Op: r.op, Key: r.key, Kind: provider.KindUnavailable}
	var said *swift.Error
	switch {
	case errors.Is(err, swift.TimeoutError):
		failed.Err = fmt.Errorf("logging in: %w", overhttp.Cause(err))
	case errors.As(err, &said) && said.StatusCode != 0:
		switch said.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusBadRequest:
			failed.Kind = provider.KindAuth
			failed.Err = fmt.Errorf("logging in: %w; %s", err, whereSecretsGo)
		case http.StatusNotFound:
			failed.Kind = provider.KindInvalid
			failed.Err = fmt.Errorf("logging in: nothing gives out tokens at this address: %w", err)
		default:
			failed.Kind = kindOf(said.StatusCode)
			failed.Err = fmt.Errorf("logging in: %w", err)
		}
	case errors.As(err, &said):
		failed.Kind = provider.KindAuth
		failed.Err = fmt.Errorf("logging in: %w; %s", err, whereSecretsGo)
	default:
		failed.Err = fmt.Errorf("logging in: %w", overhttp.Cause(err))
	}
	return failed
}
