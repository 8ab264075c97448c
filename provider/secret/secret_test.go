package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sharefs/provider/secret"
)

func TestNothingPrintsASecret(t *testing.T) {
	const hush = "HUSH-4711"
	s := secret.New(hush)
	type holder struct {
		Public  secret.Text
		private secret.Text
	}
	h := holder{s, s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", &s)
		fmt.Fprintf(&out, verb+"\n", h)
		fmt.Fprintf(&out, verb+"\n", []any{h, map[string]secret.Text{"k": s}})
	}
	for _, v := range []any{s, h, map[string]any{"k": s}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).With("with", s).Info("m", "secret", s, "pointer", &s, "holder", h, "group", slog.GroupValue(slog.Any("in", s)))
	}
	if strings.Contains(out.String(), hush) || strings.Contains(out.String(), fmt.Sprintf("%x", hush)) {
		t.Errorf("shown:\n%s", &out)
	}
	if !strings.Contains(out.String(), "…") || h.private.Reveal() != hush || (secret.Text{}).Reveal() != "" {
		t.Error("it is not revealed, or not hidden by …")
	}
}

func TestNamesOfSecrets(t *testing.T) {
	for name, want := range map[string]bool{"AWS_SECRET_ACCESS_KEY": true, "access-key": true, "OS_PASSWORD": true, "authToken": true, "key": true,
		"ST_KEY": false, "region": false, "endpoint": false, "keystone": false} {
		if secret.Names(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	if !filepath.IsAbs(name) {
		name = filepath.Join(t.TempDir(), name)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFileIsReadAsTheEnvironmentIsWritten(t *testing.T) {
	name := write(t, "s.env", "# mine\n\nexport A=1\nB = no\n", 0o600)
	if _, err := secret.Open(name, nil); err == nil || !strings.Contains(err.Error(), "line 4 is not NAME=VALUE") {
		t.Errorf("%v", err)
	}
	name = write(t, name, "# mine\n\nexport A=1\n  B= two words \nC=\"a 'b' = #c\"\nD='x\"'\r\nE=a=b\n", 0o600)
	f, err := secret.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"A": "1", "B": "two words", "C": "a 'b' = #c", "D": `x"`, "E": "a=b"} {
		if got, ok := f.Lookup(name); !ok || got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if _, ok := f.Lookup("F"); ok {
		t.Error("F is there")
	}
}

func TestFileThatOthersMayReadOrThatIsNoneIsRefused(t *testing.T) {
	const good = "A=HUSH\n"
	for _, c := range []struct {
		what, text string
		mode       os.FileMode
		says       string
	}{
		{"the group reads it", good, 0o640, "others may read or change it (mode 0640): chmod 600"},
		{"all read it", good, 0o604, "mode 0604"},
		{"others write it", good, 0o602, "mode 0602"},
		{"no value", "A=\n", 0o600, "line 1, A: the value is empty"},
		{"half a quote", "A='HUSH\n", 0o400, "line 1, A: the quote"},
		{"twice", good + good, 0o600, "line 2: A stands there twice"},
		{"text", "HUSH HUSH\n", 0o600, "line 1 is not NAME=VALUE"},
	} {
		t.Run(c.what, func(t *testing.T) {
			name := write(t, "s.env", c.text, c.mode)
			_, err := secret.Open(name, nil)
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "HUSH") {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
	if _, err := secret.Open(t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "it is not a file") {
		t.Errorf("%v", err)
	}
	if _, err := secret.Open("/no/such", nil); err == nil || !strings.Contains(err.Error(), "/no/such: no such file") {
		t.Errorf("%v", err)
	}
	if os.Geteuid() != 0 {
		return
	}
	name := write(t, "s.env", good, 0o600)
	if err := os.Chown(name, 12345, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.Open(name, nil); err == nil || !strings.Contains(err.Error(), "belongs to the user 12345") {
		t.Errorf("%v", err)
	}
}

func TestFileThatHasChangedIsReadAgainAndOneThatIsBadIsNot(t *testing.T) {
	var log bytes.Buffer
	name := write(t, "s.env", "A=old\n", 0o600)
	f, err := secret.Open(name, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	is := func(when, want string) {
		t.Helper()
		if got, _ := f.Lookup("A"); got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	is("at first", "old")
	later := time.Now().Add(time.Hour) // the file system's clock may be coarse, and the size is the same
	write(t, name, "A=new\n", 0o600)
	if err := os.Chtimes(name, later, later); err != nil {
		t.Fatal(err)
	}
	is("changed", "new")
	write(t, name, "A=open to all\n", 0o644)
	is("open to all", "new")
	is("open to all, asked twice", "new")
	if n := strings.Count(log.String(), "cannot be used"); n != 1 || !strings.Contains(log.String(), "chmod 600") {
		t.Errorf("said %d times: %s", n, &log)
	}
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	is("mended", "open to all")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	is("removed", "open to all")
	write(t, name, "A=back\n", 0o600)
	is("there again", "back")
}
