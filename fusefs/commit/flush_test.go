package commit

import (
	"testing"
	"time"
)

// TestAFlushDeletesWhatARenameDuringTheUploadLeaves renames a file while it is being uploaded, and flushes before that ends.
func TestAFlushDeletesWhatARenameDuringTheUploadLeaves(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		b.store.takes = func(string, string) time.Duration { return 10 * second }
		must(t, done(b.write("f", "1")))
		time.Sleep(5 * second) // the upload is under way
		must(t, b.mv("f", "g"))
		time.Sleep(second)
		must(t, b.flush())
		wantStore(t, b, map[string]string{"g": "1"})
	})
}
