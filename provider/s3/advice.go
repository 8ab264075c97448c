package s3

import (
	"net/http"
	"time"

	"sharefs/provider"
	"sharefs/provider/overhttp"
)

// advice says what an operator can do about an answer; empty where nothing but waiting helps. It stands behind the store's
// own words in status and log.
func (a answer) advice() string {
	switch a.code {
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired":
		return "the temporary credentials have ended: " + newKeys
	case "InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException", "InvalidTokenId", "InvalidToken", "XAdminUserNotFound":
		return "the store does not know these credentials, or not any more: " + newKeys
	case "SignatureDoesNotMatch":
		return "the secret key does not belong to the access key: " + newKeys
	case "RequestTimeTooSkewed":
		return "the clock of this machine and that of the store differ: set this one right" + a.clock()
	case "AccessControlListNotSupported":
		return "the bucket takes no ACLs: leave acl= out of the URL"
	}
	switch a.kind() {
	case provider.KindDenied:
		return "give these credentials the rights that docs/providers.md lists"
	case provider.KindQuota:
		return overhttp.IfFull
	}
	return ""
}

// newKeys is what to do about credentials, which the keyring reads anew.
const newKeys = "put valid ones into the AWS configuration files, or the store's file of secrets, which are read again, without a mount; those of the environment need a new mount"

// clock says what time the store has.
func (a answer) clock() string {
	theirs, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		return ""
	}
	return "; the store has " + theirs.UTC().Format(time.DateTime) + " UTC"
}
