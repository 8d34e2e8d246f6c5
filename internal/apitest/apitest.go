// Package apitest holds what tests send and receive to the contract of the HTTP interface,
// api/openapi.yaml, in both directions: whatever the server answers has to be documented, and
// whatever it accepts too.
package apitest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	verrors "github.com/pb33f/libopenapi-validator/errors"
)

// Validator fails a test that sees a violation of the contract. Make one with [NewValidator]. It
// is safe for concurrent use.
type Validator struct {
	t        testing.TB
	contract *contract
}

// NewValidator is a Validator for the requests of the test t. The contract is read once in a
// process; a document that cannot be read fails t at once.
func NewValidator(t testing.TB) *Validator {
	t.Helper()
	c, err := load()
	if err != nil {
		t.Fatalf("apitest: %v", err)
	}
	return &Validator{t: t, contract: c}
}

// Transport validates every exchange that passes through base, or through
// [http.DefaultTransport] if base is nil. Answers have to be as documented always. Requests have
// to be only where the server accepts them, with a 2xx or 304: tests send wrong ones on purpose.
// An address or method that is not documented is fine if the answer is the problem that says so.
//
// No exchange may end after the test has.
func (v *Validator) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{base: base, validator: v}
}

// report fails the test with everything that is wrong with an exchange.
func (v *Validator) report(e *exchange, violations []string) {
	v.t.Helper()
	if len(violations) > 0 {
		v.t.Errorf("%s %s: %d breaks api/openapi.yaml:\n\t%s",
			e.request.Method, e.request.URL.RequestURI(), e.response.StatusCode, strings.Join(violations, "\n\t"))
	}
}

// describe says what the library found, one line each.
func describe(part string, errs []*verrors.ValidationError) []string {
	var lines []string
	for _, err := range errs {
		if len(err.SchemaValidationErrors) == 0 {
			lines = append(lines, fmt.Sprintf("%s: %s: %s", part, err.Message, err.Reason))
		}
		for _, failure := range err.SchemaValidationErrors {
			where := err.Message
			if len(failure.InstancePath) > 0 {
				where = "/" + strings.Join(failure.InstancePath, "/")
			}
			lines = append(lines, fmt.Sprintf("%s: %s: %s", part, where, failure.Reason))
		}
	}
	return lines
}
