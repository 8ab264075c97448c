package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"sharefs/provider"
	"sharefs/provider/overhttp"
)

// codeIsDirectory is versitygw's code for a key that is a directory.
const codeIsDirectory = "ExistingObjectIsDirectory"

// kindByCode knows the error codes of Amazon S3 (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html),
// MinIO (those with XMinio), versitygw, Ceph and Swift's s3api, where they say more than the status does.
func kindByCode(code string) (provider.Kind, bool) {
	switch code {
	case "NoSuchKey", "NoSuchUpload", "NoSuchVersion",
		"ErrDirectoryNotEmpty": // of versitygw, when a marker is to be deleted that is not there and keys below it are
		return provider.KindNotFound, true
	case "NoSuchBucket", "XMinioHealMissingBucket":
		return provider.KindNoStore, true
	case "PreconditionFailed":
		return provider.KindPrecondition, true
	case "NotImplemented", "MethodNotAllowed", "UnsupportedOperation":
		return provider.KindUnsupported, true
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException", "InvalidToken", "InvalidTokenId",
		"TokenRefreshRequired", "RequestTimeTooSkewed", "RequestExpired", "InvalidSecurity", "NotSignedUp",
		"MissingSecurityHeader", "AccountProblem", "UnauthorizedAccess", "InvalidClientTokenId", "UnrecognizedClientException",
		"XAdminUserNotFound":
		return provider.KindAuth, true
	case "AccessDenied", "AccessForbidden", "AllAccessDisabled", "InvalidObjectState", "ObjectLocked":
		return provider.KindDenied, true
	case "QuotaExceeded", "QuotaExceededException", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull",
		"InsufficientStorage", "InsufficientCapacity", "StorageFull":
		return provider.KindQuota, true
	case "ObjectParentIsFile", codeIsDirectory, "ExistingObjectIsFile", "XMinioParentIsObject",
		"XMinioObjectExistsAsDirectory", "BucketAlreadyExists":
		return provider.KindConflict, true
	case "EntityTooLarge", "MetadataTooLarge", "RequestHeaderSectionTooLarge", "MaxMessageLengthExceeded":
		return provider.KindTooLarge, true
	case "KeyTooLongError", "KeyTooLong", "EntityTooSmall", "InvalidPart", "InvalidPartOrder", "InvalidPartNumber", "InvalidRange",
		"InvalidArgument", "InvalidRequest", "InvalidStorageClass", "AccessControlListNotSupported", "InvalidURI", "InvalidBucketName", "MalformedXML",
		"kms:KeyNotFound", "KMS.NotFoundException", "KMS.DisabledException", "KMS.KMSInvalidStateException", "XMinioInvalidObjectName", "XMinioInvalidResourceName", "DirectoryObjectContainsData":
		return provider.KindInvalid, true
	case "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "ContentSHA256Mismatch":
		return provider.KindCorrupt, true
	case "SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "ServerBusy", "TooManyRequests", "Throttling", "ThrottlingException",
		"RequestLimitExceeded", "BandwidthLimitExceeded",
		// The store gave way to another request for the same key, and changed nothing.
		"ConditionalRequestConflict", "OperationAborted":
		return provider.KindThrottled, true
	case "InternalError", "RequestTimeout", "IncompleteBody", "TemporaryRedirect", "ClientDisconnected":
		return provider.KindUnavailable, true
	}
	return provider.KindOther, false
}

// kindByStatus is for answers whose code says nothing: those to HEAD have none.
func kindByStatus(method string, status int) provider.Kind {
	switch {
	case status == http.StatusNotFound && method != http.MethodHead:
		return provider.KindNoStore // S3 says what it did not find; this is something else
	case status == http.StatusConflict:
		return provider.KindConflict
	case status == http.StatusServiceUnavailable:
		return provider.KindThrottled
	case status < 300: // an error with a good status is an answer that was cut off or is not S3's
		return provider.KindUnavailable
	}
	return overhttp.KindOf(status)
}

// answer is what a store said when it refused. The zero answer is none.
type answer struct {
	method string // of the request
	status int
	code   string // empty: it did not say
	text   string
	id     string // by which the store's operator finds the request
	header http.Header
	cut    bool // there was more, which could not be read
}

func answerOf(err error) answer {
	var a answer
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.Response != nil && response.Response.Response != nil {
		a.status, a.header = response.HTTPStatusCode(), response.Response.Header
		if req := response.Response.Request; req != nil {
			a.method = req.Method
		}
		a.id = a.header.Get("X-Amz-Request-Id")
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		a.code, a.text = api.ErrorCode(), api.ErrorMessage()
	}
	if status := http.StatusText(a.status); a.code == strings.ReplaceAll(status, " ", "") && (a.text == "" || a.text == status) {
		a.code, a.text = "", "" // the SDK's own words for an answer without any
	}
	// A HEAD has no body that could hold a code; MinIO puts it into a header.
	if code := a.header.Get("X-Minio-Error-Code"); code != "" {
		a.code, a.text = code, strings.Trim(a.header.Get("X-Minio-Error-Desc"), `"`)
	}
	var unreadable *smithy.DeserializationError
	if a.code == "" && errors.As(err, &unreadable) {
		a.cut, a.text = true, "the answer cannot be read: "+unreadable.Err.Error()
	}
	return a
}

// came reports whether there was an answer at all.
func (a answer) came() bool { return a.status != 0 }

func (a answer) kind() provider.Kind {
	if kind, ok := kindByCode(a.code); ok {
		return kind
	}
	// A server that refuses a body early closes the connection, sometimes before its reason is read. These have several.
	if a.cut && (a.status == http.StatusBadRequest || a.status == http.StatusNotFound || a.status == http.StatusConflict) {
		return provider.KindUnavailable
	}
	return kindByStatus(a.method, a.status)
}

// cause is the text of an answer for people, with the SDK's error behind it.
type cause struct {
	text string
	err  error
}

func (c *cause) Error() string { return c.text }
func (c *cause) Unwrap() error { return c.err }

// fail makes the error of a method from what the SDK returned.
func (s *store) fail(ctx context.Context, op, key string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var pe *provider.Error
	if errors.As(err, &pe) {
		return err
	}
	a := answerOf(err)
	var noCreds *credentialsError
	switch {
	case errors.As(err, &noCreds):
		return &provider.Error{Op: op, Key: key, Kind: noCreds.kind(), Err: overhttp.Opaque(noCreds.Error())}
	case !a.came() && !sent(err):
		return &provider.Error{Op: op, Key: key, Kind: provider.KindOther, Err: overhttp.HideContext(err)}
	case !a.came():
		return overhttp.NoAnswer(op, key, err)
	}
	kind, text := a.kind(), a.describe()
	if kind == provider.KindNoStore {
		s.seen.Store(false)
		text = fmt.Sprintf("there is no bucket %s: %s; %s", s.cfg.Bucket, text, overhttp.IfDeleted)
	}
	if region := a.header.Get("X-Amz-Bucket-Region"); a.wrongRegion() {
		kind = provider.KindOther // of the URL, not of a key, and no store that could be made
		if region != "" && region != s.region {
			text = fmt.Sprintf("the bucket %s is in the region %s, not in %s: set region=%s", s.cfg.Bucket, region, s.region, region)
		} else {
			text = fmt.Sprintf("the bucket %s is not in the region %s: set region to the bucket's own: %s", s.cfg.Bucket, s.region, text)
		}
	}
	return &provider.Error{Op: op, Key: key, Kind: kind, RetryAfter: overhttp.RetryAfter(a.header, time.Now()), Err: &cause{text, err},
		Unanswered: overhttp.OfGateway(a.status) || a.status < http.StatusMultipleChoices && a.code == ""} // it began well and broke off
}

// sent reports whether a request was tried at all, and did not fail before in the SDK.
func sent(err error) bool {
	var failed *smithyhttp.RequestSendError
	return errors.As(err, &failed)
}

// wrongRegion reports whether the answer means that the request went to, or was signed for, another region than the
// bucket's.
func (a answer) wrongRegion() bool {
	switch a.code {
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidLocationConstraint", "InvalidRegion":
		return true
	}
	return a.status == http.StatusMovedPermanently
}

func (a answer) describe() string {
	text := a.code
	switch {
	case a.code == "" && a.text == "":
		text = "the store gave no reason"
	case a.code == "":
		text = a.text
	case a.text != "" && a.text != a.code:
		text += ": " + a.text
	}
	text = overhttp.Said(text, a.status, a.id)
	if advice := a.advice(); advice != "" {
		text += ": " + advice
	}
	return text
}

// kind tells credentials that are not there from a service for them that does not answer now.
func (e *credentialsError) kind() provider.Kind {
	if a := answerOf(e.err); a.status >= 500 || a.status == http.StatusTooManyRequests {
		return provider.KindUnavailable
	}
	return provider.KindAuth
}
