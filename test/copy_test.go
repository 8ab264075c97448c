package test

import (
	"testing"

	"sharefs/test/harness"
	"sharefs/test/soak"
)

func TestSoakACopiedSourceTreeIsTheSameOnAnotherMachine(t *testing.T) {
	t.Parallel()
	source := sourceTree(t, soak.Count(150, 2000))
	want := harness.ReadTree(t, source)
	harness.OnEach(t, func(t *testing.T, s *harness.Store) {
		m := harness.NewMount(t, s)
		harness.Run(t, "/", "cp", "-a", source+"/.", m.Path("copy"))
		harness.MustEqual(t, "the copy, in the mount that wrote it", want, harness.ReadTree(t, m.Path("copy")))
		m.Unmount()
		m.RemountEmpty()
		if s.Swift != nil {
			warm(t, m.Path("copy"))
		}
		harness.Run(t, "/", "diff", "-r", "--no-dereference", source, m.Path("copy"))
		harness.MustEqual(t, "the copy, in a mount with an empty cache", want, harness.ReadTree(t, m.Path("copy")))
	})
}
