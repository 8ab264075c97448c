// Package secret holds what must not be shown: a text that prints as "…" whatever prints it, and the file that an operator
// keeps credentials in. It also knows the names that others give to secrets, so that those can be refused where
// secrets do not belong.
package secret

import (
	"fmt"
	"log/slog"
	"strings"
)

// hidden is what a secret shows of itself.
const hidden = "…"

// Text is a secret. The zero value is empty. It is kept in a function, so that a printer which finds it in a private
// field, where it cannot call methods, finds nothing either.
type Text struct{ reveal func() string }

// New makes a secret of a text.
func New(text string) Text { return Text{func() string { return text }} }

// Reveal returns the text, for the request that needs it.
func (t Text) Reveal() string {
	if t.reveal == nil {
		return ""
	}
	return t.reveal()
}

// String hides the text.
func (t Text) String() string { return hidden }

// Format hides the text from every verb.
func (t Text) Format(s fmt.State, _ rune) { fmt.Fprint(s, hidden) }

// MarshalText hides the text from JSON, TOML and others.
func (t Text) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue hides the text from logs.
func (t Text) LogValue() slog.Value { return slog.StringValue(hidden) }

// Names recognises the names that tools give to credentials: access_key, AWS_SECRET_ACCESS_KEY, authToken, OS_PASSWORD.
func Names(name string) bool {
	plain := strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(name))
	for _, word := range []string{"accesskey", "secret", "token", "password", "passwd", "credential", "apikey"} {
		if strings.Contains(plain, word) {
			return true
		}
	}
	return plain == "key" || plain == "user"
}
