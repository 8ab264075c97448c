package s3

import (
	"context"
	"crypto/sha1"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"sharefs/provider"
)

// guarded is a store that takes one access key, and refuses others as it is told.
type guarded struct {
	asked
	key     string
	refusal http.HandlerFunc
}

func (g *guarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	key := g.key
	g.mu.Unlock()
	if strings.Contains(r.Header.Get("Authorization"), "Credential="+key+"/") {
		g.asked.ServeHTTP(w, r)
		return
	}
	g.refusal(w, r)
}

func (g *guarded) takes(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.key = key
}

// credentialsIn writes a file as ~/.aws/credentials is.
func credentialsIn(t *testing.T, name, key string) {
	t.Helper()
	text := "[default]\naws_access_key_id = " + key + "\naws_secret_access_key = secret\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// openWith opens a driver of the server with nothing but the environment given.
func openWith(t *testing.T, server http.Handler, env map[string]string) (provider.Provider, error) {
	t.Helper()
	withoutAWS(t)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true") // or the network would be asked where nothing else is found
	for name, value := range env {
		t.Setenv(name, value)
	}
	srv := httptest.NewServer(server)
	t.Cleanup(srv.Close)
	cfg := Config{Bucket: "bucket", Endpoint: srv.URL, PathStyle: true}
	p, err := Open(t.Context(), cfg, Options{ReadOnly: true})
	if err == nil {
		t.Cleanup(func() { _ = p.Close() })
	}
	return p, err
}

func TestNewKeysInTheCredentialsFileTakeEffectWhenTheOldOnesEnd(t *testing.T) {
	for _, c := range []struct {
		name    string
		refusal http.HandlerFunc
	}{
		{"expired", refusal(400, "ExpiredToken")},
		{"revoked", refusal(403, "InvalidAccessKeyId")},
		{"without rights", refusal(403, "AccessDenied")},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "credentials")
			credentialsIn(t, file, "FIRST")
			server := &guarded{key: "FIRST", refusal: c.refusal}
			p, err := openWith(t, server, map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file})
			if err != nil {
				t.Fatal(err)
			}
			ring := p.(*store).client.Options().Credentials.(*keyring)
			n := 0
			for method, call := range callers() {
				if err := call(t.Context(), p); err != nil {
					t.Errorf("%s with the first keys: %v", method, err)
				}
				n++
				next := fmt.Sprint("NEXT", n)
				server.takes(next)
				ring.looked = time.Time{} // as if a second had passed
				if err := call(t.Context(), p); !provider.Is(err, provider.KindAuth) && !provider.Is(err, provider.KindDenied) {
					t.Errorf("%s with keys that have ended: %v", method, err)
				}
				credentialsIn(t, file, next)
				ring.looked = time.Time{}
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						if err := call(t.Context(), p); err != nil {
							t.Errorf("%s with new keys in the file: %v", method, err)
						}
					})
				}
				wg.Wait()
			}
		})
	}
}

func TestABrokenCredentialsFileLeavesTheOldAnswer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	credentialsIn(t, file, "FIRST")
	server := &guarded{key: "OTHER", refusal: refusal(403, "InvalidAccessKeyId")}
	p, err := openWith(t, server, map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "[default]\naws_access", "[default]\naws_access_key_id = HALF\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p.(*store).client.Options().Credentials.(*keyring).looked = time.Time{}
		if _, err := p.List(t.Context(), provider.ListOptions{}); !provider.Is(err, provider.KindAuth) || !strings.Contains(err.Error(), "InvalidAccessKeyId") {
			t.Errorf("file %q: %v", text, err)
		}
	}
}

func TestTheChainIsReadAtMostOnceASecond(t *testing.T) {
	loads := 0
	server := &guarded{key: "OTHER", refusal: refusal(403, "InvalidAccessKeyId")}
	file := filepath.Join(t.TempDir(), "credentials")
	credentialsIn(t, file, "FIRST")
	p, err := openWith(t, server, map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file})
	if err != nil {
		t.Fatal(err)
	}
	ring := p.(*store).client.Options().Credentials.(*keyring)
	ring.looked = time.Now().Add(time.Hour)
	load := ring.load
	ring.load = func(ctx context.Context) (aws.Config, error) { loads++; return load(ctx) }
	for range 5 {
		_, _ = p.List(t.Context(), provider.ListOptions{})
	}
	if loads != 0 {
		t.Errorf("read %d times", loads)
	}
}

// TestRolesAreFoundByTheSDKsOwnChain asks services as they run beside a program, on loopback.
func TestRolesAreFoundByTheSDKsOwnChain(t *testing.T) {
	const expires = "2999-01-01T00:00:00Z"
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a web identity"), 0o600); err != nil {
		t.Fatal(err)
	}
	document := `{"Code":"Success","AccessKeyId":"ROLE","SecretAccessKey":"secret","Token":"session","Expiration":"` + expires + `"}`
	for _, c := range []struct {
		name   string
		env    func(t *testing.T, service string) map[string]string
		answer http.HandlerFunc
	}{
		{"instance metadata", func(_ *testing.T, service string) map[string]string {
			return map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": service, "AWS_EC2_METADATA_DISABLED": "false"}
		}, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
				w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
				fmt.Fprint(w, "imds-token")
			case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "imds-token":
				w.WriteHeader(http.StatusUnauthorized)
			case strings.HasSuffix(r.URL.Path, "/security-credentials/"):
				fmt.Fprint(w, "the-role")
			case strings.HasSuffix(r.URL.Path, "/security-credentials/the-role"):
				fmt.Fprint(w, document)
			default:
				w.WriteHeader(http.StatusNotFound)
			}
		}},
		{"container", func(_ *testing.T, service string) map[string]string {
			return map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": service + "/v2/credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "container"}
		}, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "container" || r.URL.Path != "/v2/credentials" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			fmt.Fprint(w, document)
		}},
		{"web identity", func(_ *testing.T, service string) map[string]string {
			return map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_ENDPOINT_URL_STS": service}
		}, sts("AssumeRoleWithWebIdentity", "WebIdentityToken", "a web identity", expires)},
		{"assumed role", func(t *testing.T, service string) map[string]string {
			file := filepath.Join(t.TempDir(), "config")
			text := "[default]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\n" +
				"[profile base]\naws_access_key_id = BASE\naws_secret_access_key = secret\n"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			return map[string]string{"AWS_CONFIG_FILE": file, "AWS_ENDPOINT_URL_STS": service}
		}, sts("AssumeRole", "RoleArn", "arn:aws:iam::1:role/r", expires)},
		{"single sign-on", func(t *testing.T, service string) map[string]string {
			home, file := signedOn(t, expires)
			return map[string]string{"HOME": home, "AWS_CONFIG_FILE": file, "AWS_ENDPOINT_URL_SSO": service}
		}, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Amz-Sso_bearer_token") != "sso-token" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			fmt.Fprint(w, `{"roleCredentials":{"accessKeyId":"ROLE","secretAccessKey":"secret","sessionToken":"session","expiration":32472144000000}}`)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			service := httptest.NewServer(c.answer)
			t.Cleanup(service.Close)
			server := &guarded{key: "ROLE", refusal: refusal(403, "InvalidAccessKeyId")}
			env := c.env(t, service.URL)
			env["AWS_REGION"] = "us-east-1"
			p, err := openWith(t, server, env)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.List(t.Context(), provider.ListOptions{}); err != nil {
				t.Fatal(err)
			}
			if got := server.last().Get("X-Amz-Security-Token"); got != "session" {
				t.Errorf("the session token that was sent is %q", got)
			}
		})
	}
}

// sts answers as the service of roles does, if a parameter is what it should be.
func sts(action, parameter, want, expires string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != action || r.FormValue(parameter) != want {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, `<%[1]sResponse><%[1]sResult><Credentials><AccessKeyId>ROLE</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>`+
			`<SessionToken>session</SessionToken><Expiration>%[2]s</Expiration></Credentials></%[1]sResult></%[1]sResponse>`, action, expires)
	}
}

// signedOn makes what "aws sso login" leaves behind, and returns the home directory and the name of the configuration file.
func signedOn(t *testing.T, expires string) (home, file string) {
	t.Helper()
	home = t.TempDir()
	cache := filepath.Join(home, ".aws", "sso", "cache")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	const start = "https://example.awsapps.com/start"
	token := fmt.Sprintf("%x.json", sha1.Sum([]byte(start))) // how the SDK finds it
	text := fmt.Sprintf(`{"startUrl":%q,"region":"us-east-1","accessToken":"sso-token","expiresAt":%q}`, start, expires)
	if err := os.WriteFile(filepath.Join(cache, token), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(home, "config")
	profile := "[default]\nsso_start_url = " + start + "\nsso_region = us-east-1\nsso_account_id = 1\nsso_role_name = r\n"
	if err := os.WriteFile(file, []byte(profile), 0o600); err != nil {
		t.Fatal(err)
	}
	return home, file
}
