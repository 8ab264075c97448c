package soak

import (
	"flag"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// EnvSeed is the environment that gives the random tests their seed, a decimal number.
const EnvSeed = "SHAREFS_TEST_SEED"

// fixedSeed is that of make test: what it finds it finds each time, for everybody.
const fixedSeed = 1

// chooseSeed returns the seed of the environment, under make soak a new one, else the fixed one.
func chooseSeed() (uint64, error) {
	if text := os.Getenv(EnvSeed); text != "" {
		return strconv.ParseUint(text, 10, 64)
	}
	if Long() {
		return rand.Uint64(), nil
	}
	return fixedSeed, nil
}

// Seed returns the seed of a random test, and logs how to run it so again.
func Seed(t testing.TB) uint64 {
	t.Helper()
	n, err := chooseSeed()
	if err != nil {
		t.Fatalf("%s: %v", EnvSeed, err)
	}
	t.Logf("as before with %s=%d", EnvSeed, n)
	return n
}

// FixRapid gives the tests of a package that uses rapid their seed and count. A TestMain calls it first, so that the flags of the
// command line go before it.
func FixRapid() {
	n, err := chooseSeed()
	if err == nil {
		err = flag.Set("rapid.seed", strconv.FormatUint(n, 10))
	}
	if err == nil {
		checks := flag.Lookup("rapid.checks")
		checks.DefValue = strconv.Itoa(Count(40, 100))
		err = checks.Value.Set(checks.DefValue)
	}
	if err == nil {
		err = flag.Set("rapid.nofailfile", "true") // with its seed a failure is found again
	}
	if err != nil {
		panic(EnvSeed + ": " + err.Error())
	}
}
