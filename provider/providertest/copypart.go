package providertest

import (
	"slices"

	"sharefs/provider"
)

var copyPartCases = []testCase{
	{"a store that cannot copy refuses", func(t *tester) {
		if t.caps.Copy {
			return // exercised below
		}
		t.putString(t.key("src"), "x")
		up := t.newUpload("k", provider.UploadOptions{})
		_, err := up.CopyPart(t.ctx, 1, t.key("src"), provider.CopyPartOptions{Length: 1})
		t.wantError(err, "upload.copypart", provider.KindUnsupported, t.keys("src", "k")...)
		t.abort(up)
	}},
	{"ranges of objects become parts", copying(func(t *tester) {
		cut := t.minPart()
		data := t.partData(2, 500, 3)
		t.put(t.key("src"), data, provider.Metadata{"note": "src"})
		up := t.newUpload("k", provider.UploadOptions{})
		parts := []provider.Part{
			t.copyPart(up, 1, "src", 10, cut),
			t.putPart(up, 2, data[:cut]),
			t.copyPart(up, 3, "src", cut, cut),
			t.copyPart(up, 4, "src", int64(len(data))-1, 1),
		}
		if parts[0].Number != 1 || parts[0].Size != cut {
			t.Errorf("the part is %+v", parts[0])
		}
		t.complete(up, parts)
		t.wantContent(t.key("k"), slices.Concat(data[10:10+cut], data[:cut], data[cut:2*cut], data[len(data)-1:]))
		t.wantMetadata(t.key("k"), provider.Metadata{})
	})},
	{"an object is changed in its middle by its own parts", copying(func(t *tester) {
		cut := t.minPart()
		data := t.partData(2, 500, 4)
		t.put(t.key("k"), data, nil)
		version := t.stat(t.key("k")).Version
		up := t.newUpload("k", provider.UploadOptions{})
		first, err := up.CopyPart(t.ctx, 1, t.key("k"), provider.CopyPartOptions{Length: cut, IfVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		changed := pattern(int(cut), 5)
		t.complete(up, []provider.Part{first, t.putPart(up, 2, changed), t.copyPart(up, 3, "k", 2*cut, 500)})
		t.wantContent(t.key("k"), slices.Concat(data[:cut], changed, data[2*cut:]))
	})},
	{"a source that is missing, another version, or too short is refused", copying(func(t *tester) {
		t.put(t.key("src"), pattern(100, 1), nil)
		old := t.stat(t.key("src")).Version
		t.put(t.key("src"), pattern(100, 2), nil)
		up := t.newUpload("k", provider.UploadOptions{})
		_, err := up.CopyPart(t.ctx, 1, t.key("missing"), provider.CopyPartOptions{Length: 1})
		t.wantError(err, "upload.copypart", provider.KindNotFound, t.keys("missing", "k")...)
		if old != "" {
			_, err = up.CopyPart(t.ctx, 1, t.key("src"), provider.CopyPartOptions{Length: 1, IfVersion: old})
			t.wantError(err, "upload.copypart", provider.KindPrecondition, t.keys("src", "k")...)
		}
		_, err = up.CopyPart(t.ctx, 1, t.key("src"), provider.CopyPartOptions{Offset: 50, Length: 51})
		t.wantError(err, "upload.copypart", provider.KindInvalid, t.keys("src", "k")...)
		t.abort(up)
	})},
}
