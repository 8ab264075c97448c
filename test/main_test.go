// Package test runs sharefs as a whole: the real program, real mounts, real stores, real programs that use them.
package test

import (
	"testing"

	"sharefs/test/harness"
)

func TestMain(m *testing.M) {
	harness.Main(m, harness.Helpers{"writer": write})
}
