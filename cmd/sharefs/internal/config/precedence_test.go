package config

import "testing"

// The rows of the table in docs/operations.md that concern settings, each with what is above it missing.
func TestEachSourceOfASettingBeatsTheNext(t *testing.T) {
	flag := "--writeback 1m"
	env := map[string]string{"SHAREFS_WRITEBACK": "2m"}
	const global = "writeback = \"4m\"\n"
	const store = "[stores.shares]\nurl = \"mem:\"\nwriteback = \"3m\"\n"
	const others = "[stores.others]\nurl = \"mem:\"\nwriteback = \"5m\"\n"
	for _, c := range []struct {
		source string
		world
		want string
	}{
		{"flag", world{args: flag, env: env, file: global + store, store: "shares"}, "1m0s"},
		{"environment", world{env: env, file: global + store, store: "shares"}, "2m0s"},
		{"named store", world{file: global + store + others, store: "shares"}, "3m0s"},
		{"top of the file, for a store that does not say", world{file: global + "[stores.shares]\nurl = \"mem:\"\n" + others, store: "shares"}, "4m0s"},
		{"top of the file, for a store without a name", world{file: global + store}, "4m0s"},
		{"default", world{file: store + others}, "1s"},
	} {
		t.Run(c.source, func(t *testing.T) {
			s, err := c.load(t)
			if err != nil {
				t.Fatal(err)
			}
			if got := optionText(&s, "writeback"); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestProfileOfANamedStoreIsBeatenByItsSettingsAndThoseOfTheFile(t *testing.T) {
	const store = "[stores.shares]\nurl = \"mem:\"\nprofile = \"tahoe\"\n"
	for _, c := range []struct {
		what, file, attributes, scratch string
	}{
		{"alone", store, "listed", "**/shares/incoming/**"},
		{"its own scratch", store + "scratch = [\"tmp/**\"]\n", "listed", "tmp/**"},
		{"attributes of the file", "attributes = \"full\"\n" + store, "full", "**/shares/incoming/**"},
	} {
		t.Run(c.what, func(t *testing.T) {
			s, err := world{file: c.file, store: "shares"}.load(t)
			if err != nil {
				t.Fatal(err)
			}
			if s.Attributes != c.attributes || optionText(&s, "scratch") != c.scratch {
				t.Errorf("got %s, %s", s.Attributes, s.Scratch)
			}
		})
	}
}
