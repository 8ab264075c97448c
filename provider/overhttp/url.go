package overhttp

import (
	"net/url"
)

// CheckServer reports what is wrong with the URL of a server or a proxy, and shows nothing of it that may be secret. what
// names it; instead says where credentials belong.
func CheckServer(what, text, instead string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return invalid("url", "", "the %s cannot be read: want http://host:port or https://host:port", what)
	case u.User != nil:
		return invalid("url", "", "the %s has credentials, which do not belong in a URL: %s", what, instead)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return invalid("url", "", "the %s %q: want http://host:port or https://host:port", what, text)
	}
	return nil
}
