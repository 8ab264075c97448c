package swift

import (
	"testing"

	"github.com/ncw/swift/v2/swifttest"

	"sharefs/provider/providertest"
)

// Why the client library's fake of Swift is too simple for a case.
const (
	noLocks    = "it changes objects without a lock"
	merges     = "a PUT keeps the metadata of the object that it replaces"
	noCopyFrom = "a PUT with X-Copy-From stores an empty object"
	noLimit    = "a listing does not end at its limit"
	noNewline  = "a name ends at a newline"
	noManifest = "a manifest's ETag is taken for that of its text, and its paths may not begin with a slash as Swift's do"
)

// beyondTheFake is what only a real Swift shows. The fake has bulk deletes by another method, too, but does not say that it has
// them, so that the driver deletes name by name.
var beyondTheFake = map[string]string{
	"Open/ranges": "a range is answered with 200 and without Content-Range, and one behind the end with a panic",
	"Open/IfVersion reads that version or fails":   "it does not look at If-Match",
	"Cancel/a cancelled Put leaves a whole object": noLocks,
	"Atomic":     noLocks,
	"Concurrent": noLocks,
	"Identity/Revision changes with the metadata alone":          "its times have a grain of a second",
	"Metadata/what Put was given comes back":                     merges,
	"Metadata/Put replaces all of it":                            merges,
	"Copy":                                                       noCopyFrom,
	"ContentType/Copy without metadata keeps that of the source": noCopyFrom,
	"CopyPart": noCopyFrom,
	"List/every prefix, mode, limit and start":             noLimit,
	"List/a marker whose key is the prefix comes first":    noLimit,
	"List/pages end where Limit says and go on with Token": noLimit,
	"List/many objects": noLimit,
	"Keys/nasty keys in every method and both listings": noNewline,
	"Keys/nasty markers": noNewline,
	"ContentType/an object of parts has that of its upload": noManifest,
	"Upload": noManifest,
	"UploadRefusal/a body of another size makes no part": noManifest,
	"UploadRefusal/a cancelled part can be sent again":   noManifest,
	"UploadRefusal/a context that ended does nothing":    noManifest,
}

// TestConformanceOnTheLibrarysFake runs in a second what needs no more than the fake, which lives in this process.
func TestConformanceOnTheLibrarysFake(t *testing.T) {
	fake, err := swifttest.NewSwiftServer("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	clearEnv(t)
	t.Setenv("ST_USER", swifttest.TEST_ACCOUNT)
	t.Setenv("ST_KEY", swifttest.TEST_ACCOUNT)
	cfg := configOf(t, "swift://container?auth="+fake.AuthURL)
	creating := open(t, cfg, Options{ReadOnly: true})
	if err := creating.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := creating.Close(); err != nil {
		t.Error(err)
	}
	suite := suiteOn(cfg)
	suite.Beyond = beyondTheFake
	providertest.Run(t, suite)
}
