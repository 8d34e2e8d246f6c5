// Package auth turns a bearer token into the subject it was issued to.
//
// A token is a JSON Web Token (RFC 7519) in the compact serialization of
// RFC 7515, signed by an algorithm that the configuration pins. The rules are
// those of RFC 8725, "JSON Web Token Best Current Practices", read strictly: what
// two parsers could understand differently is refused rather than interpreted.
//
// The package says who presents a token. What that subject may see is not its
// business.
package auth

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

var (
	// ErrInvalidToken is wrapped by every error that [Verifier.Verify] returns
	// because of the token itself. What else such an error says is for the log:
	// telling a client why its token was refused helps whoever forges one.
	ErrInvalidToken = errors.New("invalid token")

	// ErrExpired is wrapped by the error for a token that was good, or might have been, until its time was over.
	ErrExpired = jwt.ErrTokenExpired

	// ErrKeysUnavailable is returned by [Verifier.Verify] while the JWKS source
	// has not answered once since the start, so that no token can be judged. It
	// is the service's fault and not the token's, and passes by itself.
	ErrKeysUnavailable = errors.New("no verification keys have been loaded yet")

	// ErrTooManyWait is returned by [Verifier.Verify] for a token that no key fits
	// while as many others wait for the JWKS source as may. It passes by itself.
	ErrTooManyWait = errors.New("too many tokens wait for the JWKS")
)

// maxSubjectLength is the greatest number of characters in a [Subject].
const maxSubjectLength = 255

// A Subject names the principal that a token was issued to: its "sub" claim
// (RFC 7519, section 4.1.2). Two subjects are the same if they are the same bytes.
type Subject string

// ParseSubject returns s as a Subject if it is one: 1 to 255 characters of valid
// UTF-8, none of them a control character or U+FFFD. The latter is what decoders
// put in the place of what they could not read, so two names could meet in it.
// The error does not repeat s.
func ParseSubject(s string) (Subject, error) {
	switch {
	case s == "":
		return "", errors.New("subject is empty")
	case utf8.RuneCountInString(s) > maxSubjectLength:
		return "", fmt.Errorf("subject is longer than %d characters", maxSubjectLength)
	case strings.ContainsFunc(s, isUnfitForNames):
		return "", errors.New("subject holds a control character or is not valid UTF-8")
	}
	return Subject(s), nil
}

// isUnfitForNames reports whether r may not stand in a subject or key id. A byte
// that is not UTF-8 counts as U+FFFD.
func isUnfitForNames(r rune) bool {
	return unicode.IsControl(r) || r == utf8.RuneError
}
