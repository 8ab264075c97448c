package servers

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sharefs/test/cached"
)

// software is a server program, pinned: the facts that tests rest on were measured with this version.
type software struct {
	name    string // of the program, too
	pkg     string
	version string
	tls     bool
	command func(s *Server) (args, env []string)
}

// MinIOKey is the name of the one key that MinIO's key service has.
const MinIOKey = "tests"

func minio() software {
	return software{
		name:    "minio",
		pkg:     "github.com/minio/minio",
		version: "v0.0.0-20260212201848-7aac2a2c5b7c",
		command: func(s *Server) (args, env []string) {
			args = []string{
				"server", "--quiet", "--anonymous", "--certs-dir", s.certsDir(),
				"--address", s.addr, s.DataDir,
			}
			env = []string{
				"MINIO_ROOT_USER=" + s.AccessKey, "MINIO_ROOT_PASSWORD=" + s.SecretKey,
				"MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_SITE_REGION=" + s.Region,
				"MINIO_KMS_SECRET_KEY=" + MinIOKey + ":" + base64.StdEncoding.EncodeToString([]byte(s.sealing)),
			}
			return args, env
		},
	}
}

func versitygw() software {
	return software{
		name:    "versitygw",
		pkg:     "github.com/versity/versitygw/cmd/versitygw",
		version: "v1.8.0",
		command: func(s *Server) (args, env []string) {
			args = []string{"--port", s.addr, "--region", s.Region, "--keep-alive", "--quiet", "posix", s.DataDir}
			env = []string{"ROOT_ACCESS_KEY_ID=" + s.AccessKey, "ROOT_SECRET_ACCESS_KEY=" + s.SecretKey}
			return args, env
		},
	}
}

// Build builds every server program that is not built yet, and returns the paths of all. It needs the Go module proxy and takes
// minutes the first time, nothing later.
func Build(ctx context.Context) ([]string, error) {
	var paths []string
	for _, sw := range []software{minio(), versitygw()} {
		path, err := sw.binary(ctx)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// binary returns the program's path below the user's cache directory, building it when it is missing.
func (sw software) binary(ctx context.Context) (string, error) {
	dir, err := cached.Dir(ctx, filepath.Join("servers", sw.name+"-"+sw.version), func(dir string) error { return sw.install(ctx, dir) })
	return filepath.Join(dir, sw.name), err
}

// install builds into a directory.
func (sw software) install(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "install", sw.pkg+"@"+sw.version)
	cmd.Dir = dir // outside of any module
	cmd.Env = append(goEnv(os.Environ()), "GOBIN="+dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go install %s@%s: %w\n%s", sw.pkg, sw.version, err, tail(out.Bytes(), 2000))
	}
	return nil
}

// goEnv leaves out what a surrounding go command set for its own build.
func goEnv(env []string) []string {
	var kept []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "GOFLAGS", "GOBIN", "GOOS", "GOARCH", "GOWORK":
		default:
			kept = append(kept, kv)
		}
	}
	return kept
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		b = b[len(b)-n:]
	}
	return bytes.TrimSpace(b)
}
