package catalog

import (
	"slices"
	"testing"
)

func TestAnUploadIsNotedUntilItIsForgotten(t *testing.T) {
	c := fresh(t)
	note := func(u Upload) func(*Tx) error { return func(tx *Tx) error { return tx.NoteUpload(u) } }
	forget := func(u Upload) func(*Tx) error { return func(tx *Tx) error { return tx.ForgetUpload(u) } }
	for _, step := range []struct {
		what string
		do   func(*Tx) error
		want []Upload
	}{
		{"about to begin", note(Upload{Key: "b"}), []Upload{{Key: "b"}}},
		{"likewise again", note(Upload{Key: "b"}), []Upload{{Key: "b"}}},
		{"another key", note(Upload{Key: "a", ID: "1"}), []Upload{{"a", "1"}, {"b", ""}}},
		{"the id is known", note(Upload{"b", "2"}), []Upload{{"a", "1"}, {"b", "2"}}},
		{"another upload of the key", note(Upload{Key: "b"}), []Upload{{"a", "1"}, {"b", ""}, {"b", "2"}}},
		{"its id", note(Upload{"b", "3"}), []Upload{{"a", "1"}, {"b", "2"}, {"b", "3"}}},
		{"gone", forget(Upload{"b", "2"}), []Upload{{"a", "1"}, {"b", "3"}}},
		{"not there", forget(Upload{"b", "9"}), []Upload{{"a", "1"}, {"b", "3"}}},
	} {
		if err := c.Update(step.do); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		err := c.View(func(tx *Tx) error {
			all, err := tx.Uploads()
			if err != nil {
				return err
			}
			if !slices.Equal(all, step.want) {
				t.Errorf("%s: %v, want %v", step.what, all, step.want)
			}
			for _, key := range []string{"a", "b"} {
				at, err := tx.UploadsAt(key)
				if err != nil {
					return err
				}
				if want := slices.DeleteFunc(slices.Clone(step.want), func(u Upload) bool { return u.Key != key }); !slices.Equal(at, want) {
					t.Errorf("%s: at %q %v, want %v", step.what, key, at, want)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
