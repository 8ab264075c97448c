package overhttp

import (
	"net/url"
	"strings"
	"testing"

	"sharefs/provider"
)

// bowl is the configuration of a driver.
type bowl struct {
	Name, Prefix, Colour, Server string
	Deep                         bool
}

var bowls = Form[bowl]{
	Scheme: "x", Store: "bowl", Server: "server=http://host:PORT/", Secrets: "whisper them",
	Name:   func(b *bowl) *string { return &b.Name },
	Prefix: func(b *bowl) *string { return &b.Prefix },
	Params: []Param[bowl]{
		Text("colour", func(b *bowl) *string { return &b.Colour }),
		Truth("deep", func(b *bowl) *bool { return &b.Deep }),
		Server("server", func(b *bowl) *string { return &b.Server }),
	},
}

func TestAURLIsReadAndWritten(t *testing.T) {
	for _, c := range []struct {
		name, url string
		want      bowl
		text      string // what String makes of it; empty: the URL
	}{
		{"a name", "x://Bowl_1.a", bowl{Name: "Bowl_1.a"}, ""},
		{"a slash at the end", "x://b/", bowl{Name: "b"}, "x://b"},
		{"a prefix", "x://b/some/prefix", bowl{Name: "b", Prefix: "some/prefix/"}, ""},
		{"a prefix with a slash at the end", "x://b/p/", bowl{Name: "b", Prefix: "p/"}, "x://b/p"},
		{"an escaped prefix", "x://b/a%20b%2Fc%23", bowl{Name: "b", Prefix: "a b/c#/"}, "x://b/a%20b/c%23"},
		{"every parameter", "x://b/p?deep=1&server=http://s:1/&colour=deep+blue", bowl{"b", "p/", "deep blue", "http://s:1", true},
			"x://b/p?colour=deep+blue&deep=true&server=http%3A%2F%2Fs%3A1"},
		{"what is not so", "x://b?deep=false", bowl{Name: "b"}, "x://b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, text := range []string{c.url, bowls.String(c.want)} {
				u, err := url.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := bowls.Parse(u); err != nil || got != c.want {
					t.Errorf("%s is %+v, %v; want %+v", text, got, err, c.want)
				}
			}
			if c.text == "" {
				c.text = c.url
			}
			if got := bowls.String(c.want); got != c.text {
				t.Errorf("written as %s, want %s", got, c.text)
			}
		})
	}
}

func TestAURLThatIsNotRightIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, url string
		want      string // the error
	}{
		{"another scheme", "y://b", `the scheme is "y", want x://bowl/prefix`},
		{"no name", "x:///prefix", "no bowl: want x://bowl/prefix"},
		{"no slashes", "x:b", "no bowl: want x://bowl/prefix"},
		{"a port", "x://b:9000/p", "a port behind the bowl: give the server as ?server=http://host:9000/"},
		{"a fragment", "x://b/a#b", "a # in a prefix must be written %23"},
		{"a parameter that cannot be read", "x://b?colour=%zz", `the parameters cannot be read: invalid URL escape "%zz"`},
		{"an unknown parameter", "x://b?color=red", `unknown parameter "color": known are colour, deep, server`},
		{"a parameter twice", "x://b?colour=a&colour=b", `the parameter "colour" needs one value`},
		{"an empty parameter", "x://b?colour=", `the parameter "colour" needs one value`},
		{"neither true nor false", "x://b?deep=maybe", "deep=maybe: want true or false"},

		{"user and password", "x://user:hunter2@b", "credentials do not belong in a URL: whisper them"},
		{"a user", "x://hunter2@b", "credentials do not belong in a URL: whisper them"},
		{"an access key", "x://b?access_key=hunter2", `the parameter "access_key": credentials do not belong in a URL: whisper them`},
		{"a secret in other letters", "x://b?AWSSecretAccessKey=hunter2", `the parameter "AWSSecretAccessKey": credentials do not belong in a URL: whisper them`},
		{"a password", "x://b?password=hunter2", `the parameter "password": credentials do not belong in a URL: whisper them`},
		{"a token", "x://b?session-token=hunter2", `the parameter "session-token": credentials do not belong in a URL: whisper them`},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := url.Parse(c.url)
			if err != nil {
				t.Fatal(err)
			}
			_, err = bowls.Parse(u)
			if !provider.Is(err, provider.KindInvalid) || err.Error() != "url: invalid: "+c.want {
				t.Errorf("%v\nwant that it is invalid: %s", err, c.want)
			}
		})
	}
}

func TestCheckPrefix(t *testing.T) {
	for prefix, want := range map[string]string{
		"": "", "a/b/": "", "a": "slash", "a/../b/": "..", "a//b/": "empty component", strings.Repeat("p", 1024) + "/": "1024",
	} {
		err := CheckPrefix(prefix, 1024)
		if want == "" && err != nil || want != "" && (!provider.Is(err, provider.KindInvalid) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.20s: %v, want %q", prefix, err, want)
		}
	}
}

func TestProxyAt(t *testing.T) {
	if proxy, err := ProxyAt(""); proxy != nil || err != nil {
		t.Errorf("none: %v", err)
	}
	proxy, err := ProxyAt("http://proxy:3128")
	if err != nil {
		t.Fatal(err)
	}
	if u, err := proxy(nil); err != nil || u.Host != "proxy:3128" {
		t.Errorf("%v, %v", u, err)
	}
	if _, err := ProxyAt("http://u:hunter2@pro xy"); !provider.Is(err, provider.KindInvalid) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("one that cannot be read: %v", err)
	}
}

func TestCheckServer(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "http://host:1": "", "https://host/path": "", "ftp://host": "want http", "host:80": "want http", "http://": "want http",
		"https://user:topsecret@host": "credentials", "http://ho st": "cannot be read", "http://host?x=1": "want http",
	} {
		err := CheckServer("proxy", text, "elsewhere")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "topsecret")) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
