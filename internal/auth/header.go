package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// maxKeyIDBytes bounds a "kid".
const maxKeyIDBytes = 255

// strictBase64 is base64url without padding (RFC 7515, section 2), with the unused
// bits of the last character required to be zero.
var strictBase64 = base64.RawURLEncoding.Strict()

// refusedHeaders are header parameters of RFC 7515, section 4.1, that a token may
// not carry: those that bring a key along or say where to fetch one, which would
// let a forger choose it, and "crit", because no extension is understood here. No
// issuer of access tokens has a use for them.
var refusedHeaders = []string{"jku", "jwk", "x5u", "x5c", "crit"}

// A header is what matters of a token's JOSE header.
type header struct {
	alg string
	kid string // empty if there is none
}

// parseHeader decodes and checks the first part of a token, all but whether the
// algorithm is one of those pinned.
func parseHeader(segment string) (header, error) {
	data, err := strictBase64.DecodeString(segment)
	if err != nil {
		return header{}, fmt.Errorf("header: %w", err)
	}
	object, err := parseObject(data)
	if err != nil {
		return header{}, fmt.Errorf("header: %w", err)
	}
	for _, name := range refusedHeaders {
		if _, present := object[name]; present {
			return header{}, fmt.Errorf("header parameter %q is refused", name)
		}
	}
	if typ, present := object["typ"]; present && !isAccessToken(typ) {
		return header{}, errors.New("header: typ is not that of a JWT")
	}
	var h header
	var ok bool
	if h.alg, ok = object["alg"].(string); !ok {
		return header{}, errors.New("header: alg is not a string")
	}
	if kid, present := object["kid"]; present {
		if h.kid, ok = kid.(string); !ok || !isKeyID(h.kid) {
			return header{}, errors.New("header: kid is not a key id")
		}
	}
	return h, nil
}

// isAccessToken reports whether a "typ" is "JWT" (RFC 7519, section 5.1) or
// "at+jwt" (RFC 9068, section 2.1). Both are media types: case does not matter
// and "application/" may be left out (RFC 7515, section 4.1.9).
func isAccessToken(typ any) bool {
	name, ok := typ.(string)
	if !ok {
		return false
	}
	const prefix = "application/"
	if len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
		name = name[len(prefix):]
	}
	return strings.EqualFold(name, "JWT") || strings.EqualFold(name, "at+jwt")
}

func isKeyID(kid string) bool {
	return kid != "" && len(kid) <= maxKeyIDBytes && !strings.ContainsFunc(kid, isUnfitForNames)
}
