package s3

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"sharefs/provider"
)

// asked is a server that answers whatever is asked, and remembers the headers.
type asked struct {
	mu   sync.Mutex
	seen []*http.Request
}

func (a *asked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.seen = append(a.seen, r)
	a.mu.Unlock()
	w.Header().Set("ETag", `"e1"`)
	query := r.URL.Query()
	switch {
	case r.Header.Get("X-Amz-Copy-Source") != "" && query.Has("uploadId"):
		fmt.Fprint(w, `<CopyPartResult><ETag>"e1"</ETag></CopyPartResult>`)
	case r.Header.Get("X-Amz-Copy-Source") != "":
		fmt.Fprint(w, `<CopyObjectResult><ETag>"e1"</ETag></CopyObjectResult>`)
	case r.Method == http.MethodPost && query.Has("uploads"):
		fmt.Fprint(w, `<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>`)
	case r.Method == http.MethodPost && query.Has("delete"):
		fmt.Fprint(w, `<DeleteResult><Deleted><Key>k</Key></Deleted><Deleted><Key>l</Key></Deleted></DeleteResult>`)
	case r.Method == http.MethodPost:
		fmt.Fprint(w, `<CompleteMultipartUploadResult><ETag>"e1"</ETag></CompleteMultipartUploadResult>`)
	case r.Method == http.MethodGet && query.Has("list-type"):
		fmt.Fprint(w, `<ListBucketResult><EncodingType>url</EncodingType></ListBucketResult>`)
	case r.Method == http.MethodGet && query.Has("uploads"):
		fmt.Fprint(w, `<ListMultipartUploadsResult><EncodingType>url</EncodingType></ListMultipartUploadsResult>`)
	}
}

// last returns the headers of the last request.
func (a *asked) last() http.Header {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen[len(a.seen)-1].Header
}

// customerKeyFile writes a key of 32 bytes k and returns the file's name.
func customerKeyFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(name, bytes.Repeat([]byte("k"), customerKeySize), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// The methods that a demand is for.
var (
	everyMethod = slices.Sorted(maps.Keys(callers()))
	makesObject = []string{"copy", "newupload", "put"}
	readsBytes  = []string{"copy", "newupload", "open", "put", "stat", "upload.complete", "upload.copypart", "upload.putpart"}
)

func TestWhatTheURLDemandsIsInEveryRequestThatItIsFor(t *testing.T) {
	const (
		key = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="
		sum = "mT2HRsMGJ5IX5C+0rreZ8Q=="
	)
	billed := slices.DeleteFunc(slices.Clone(everyMethod), func(m string) bool { return m == "create" })
	for _, c := range []struct {
		name    string
		cfg     Config
		header  string
		value   string
		methods []string
	}{
		{"sse", Config{Encryption: "AES256"}, "X-Amz-Server-Side-Encryption", "AES256", makesObject},
		{"sse of the KMS", Config{Encryption: "aws:kms"}, "X-Amz-Server-Side-Encryption", "aws:kms", makesObject},
		{"sse twice", Config{Encryption: "aws:kms:dsse"}, "X-Amz-Server-Side-Encryption", "aws:kms:dsse", makesObject},
		{"key of the KMS", Config{Encryption: "aws:kms", KMSKey: "alias/k"}, "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "alias/k", makesObject},
		{"customer's key", Config{CustomerKeyFile: "key"}, "X-Amz-Server-Side-Encryption-Customer-Key", key, readsBytes},
		{"customer's key, its sum", Config{CustomerKeyFile: "key"}, "X-Amz-Server-Side-Encryption-Customer-Key-Md5", sum, readsBytes},
		{"customer's key, its algorithm", Config{CustomerKeyFile: "key"}, "X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES256", readsBytes},
		{"customer's key of a source", Config{CustomerKeyFile: "key"}, "X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key", key,
			[]string{"copy", "upload.copypart"}},
		{"storage class", Config{StorageClass: "STANDARD_IA"}, "X-Amz-Storage-Class", "STANDARD_IA", makesObject},
		{"acl", Config{ACL: "bucket-owner-full-control"}, "X-Amz-Acl", "bucket-owner-full-control", makesObject},
		{"requester pays", Config{RequesterPays: true}, "X-Amz-Request-Payer", "requester", billed},
		{"checksums", Config{}, "X-Amz-Checksum-Crc32c", "Jj/JUA==", []string{"put"}},
		{"checksums asked for", Config{}, "X-Amz-Checksum-Mode", "ENABLED", []string{"open"}},
		{"no checksums", Config{Checksums: "when_required"}, "X-Amz-Checksum-Crc32c", "", nil},
		{"no checksums asked for", Config{Checksums: "when_required"}, "X-Amz-Checksum-Mode", "", nil},
		{"nothing", Config{}, "X-Amz-Server-Side-Encryption", "", nil},
		{"nothing of classes", Config{}, "X-Amz-Storage-Class", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := &asked{}
			tls := c.cfg.CustomerKeyFile != ""
			if tls {
				c.cfg.CustomerKeyFile = customerKeyFile(t)
			}
			p := fakeAs(t, c.cfg, tls, server)
			for _, method := range everyMethod {
				if err := callers()[method](t.Context(), p); err != nil {
					t.Errorf("%s: %v", method, err)
				}
				want := ""
				if slices.Contains(c.methods, method) {
					want = c.value
				}
				if got := server.last().Get(c.header); got != want {
					t.Errorf("%s: %s is %q, want %q", method, c.header, got, want)
				}
			}
		})
	}
}

func TestWhatSharefsKeepsForItselfStaysInTheDefaultClass(t *testing.T) {
	server := &asked{}
	p := fakeAs(t, Config{StorageClass: "STANDARD_IA", Prefix: "some/prefix/"}, false, server)
	for key, want := range map[string]string{
		"some/prefix/.sharefs/claim-1": "",
		"some/prefix/dir/.sharefs":     "STANDARD_IA",
		".sharefs/of-another":          "STANDARD_IA",
	} {
		put(t, p, key, nil)
		if got := server.last().Get("X-Amz-Storage-Class"); got != want {
			t.Errorf("%s is put in %q, want %q", key, got, want)
		}
	}
}

func TestChecksumsFollowTheSDKsSettingUnlessTheURLSaysOtherwise(t *testing.T) {
	for _, c := range []struct {
		env, url string
		want     bool
	}{
		{"", "", true},
		{"when_required", "", false},
		{"when_required", "when_supported", true},
		{"when_supported", "when_required", false},
	} {
		t.Setenv("AWS_REQUEST_CHECKSUM_CALCULATION", c.env)
		server := &asked{}
		put(t, fakeAs(t, Config{Checksums: c.url}, false, server), "k", []byte("x"))
		if got := server.last().Get("X-Amz-Checksum-Crc32c") != ""; got != c.want {
			t.Errorf("AWS_REQUEST_CHECKSUM_CALCULATION=%s, checksum=%s: sent %v", c.env, c.url, got)
		}
	}
}

func TestCustomerKeyFiles(t *testing.T) {
	raw := strings.Repeat("k", customerKeySize)
	for _, c := range []struct {
		name, content string
		mode          os.FileMode
		says          string // empty: it is taken
	}{
		{"bytes", raw, 0o600, ""},
		{"base64", "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=\n", 0o400, ""},
		{"readable for the group", raw, 0o640, "others may read or change it (mode 0640)"},
		{"readable for all", raw, 0o604, "chmod 600"},
		{"too short", "HUSH", 0o600, "does not hold a key: it is 32 bytes"},
		{"too long", strings.Repeat("HUSH", 100), 0o600, "does not hold a key"},
		{"empty", "", 0o600, "does not hold a key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(name, []byte(c.content), c.mode); err != nil {
				t.Fatal(err)
			}
			key, err := readCustomerKey(name)
			if c.says == "" {
				if string(key) != raw || err != nil {
					t.Errorf("read %q, %v", key, err)
				}
				return
			}
			_, err = openFakeAs(t, Config{CustomerKeyFile: name}, true, Options{ReadOnly: true}, &asked{})
			if !provider.Is(err, provider.KindInvalid) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "sse_customer_key_file") {
				t.Errorf("%v, want it to say %q", err, c.says)
			}
			if strings.Contains(err.Error(), "HUSH") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestACustomersKeyTravelsOnlyOverTLS(t *testing.T) {
	server := &asked{}
	_, err := openFakeAs(t, Config{CustomerKeyFile: customerKeyFile(t)}, false, Options{}, server)
	if !provider.Is(err, provider.KindInvalid) || !strings.Contains(err.Error(), "https://") || len(server.seen) != 0 {
		t.Errorf("%v, after %d requests", err, len(server.seen))
	}
}
