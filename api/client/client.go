// Package client is a Go client of Runledger. It is made of the contract, api/openapi.yaml, with
// what a contract cannot say: how to sign in, what a problem is in Go, and how to read a list to
// its end.
package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
)

//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -config oapi-codegen.yaml ../openapi.yaml

// TokenSource gives the bearer token for a request. It is called for each, from any goroutine, so
// that a token can be renewed before it expires.
type TokenSource func(ctx context.Context) (string, error)

// StaticToken is the TokenSource of a token that does not change.
func StaticToken(token string) TokenSource {
	return func(context.Context) (string, error) { return token, nil }
}

// New makes a client of the service at baseURL, such as https://runledger.example, which signs in
// with tokens from token. Requests have no time limit but that of their context, unless
// [WithHTTPClient] gives them one. The error is one of options.
func New(baseURL string, token TokenSource, options ...ClientOption) (*ClientWithResponses, error) {
	signIn := WithRequestEditorFn(func(ctx context.Context, request *http.Request) error {
		bearer, err := token(ctx)
		if err != nil {
			return fmt.Errorf("get a token: %w", err)
		}
		request.Header.Set("Authorization", "Bearer "+bearer)
		return nil
	})
	return NewClientWithResponses(baseURL, append([]ClientOption{signIn}, options...)...)
}

// Error is an answer that is not what was asked for.
type Error struct {
	// StatusCode is that of the answer.
	StatusCode int
	// Problem is what the service says about it; nil if something else answered, such as a proxy.
	Problem *Problem
}

// Error says what the service said, with the request id that finds it in the service's log.
func (e *Error) Error() string {
	if e.Problem == nil {
		return fmt.Sprintf("runledger: status %d", e.StatusCode)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "runledger: status %d: %s", e.StatusCode, e.Problem.Detail)
	if e.Problem.Errors != nil {
		for _, fault := range *e.Problem.Errors {
			if at := cmp.Or(fault.Parameter, fault.Header, fault.Pointer); at != nil {
				text.WriteString(" " + *at + ":")
			}
			text.WriteString(" " + fault.Detail)
		}
	}
	text.WriteString(" (request " + e.Problem.RequestID + ")")
	return text.String()
}

// errorOf is the Error for an answer and its body.
func errorOf(response *http.Response, body []byte) error {
	e := &Error{StatusCode: response.StatusCode}
	mediaType, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/problem+json" {
		return e
	}
	var problem Problem
	if err := json.Unmarshal(body, &problem); err == nil {
		e.Problem = &problem
	}
	return e
}
