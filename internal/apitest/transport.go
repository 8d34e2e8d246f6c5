package apitest

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"strings"
)

// transport validates what passes through it.
type transport struct {
	base      http.RoundTripper
	validator *Validator
}

// RoundTrip sends a request and validates it with its answer.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	t.validator.t.Helper()
	sent, again, err := replayable(request)
	if err != nil {
		return nil, err
	}
	response, err := t.base.RoundTrip(sent)
	if err != nil {
		return nil, err
	}
	judged, bodiless := keep(response)
	body, err := again()
	if err != nil {
		return response, nil //nolint:nilerr // the answer is what the caller asked for
	}
	replay := request.Clone(request.Context())
	replay.Body = body
	e := &exchange{request: replay, response: judged, bodiless: bodiless}
	t.validator.report(e, t.validator.contract.violations(e))
	return response, nil
}

// replayable is a request with the same content, and a way to read its body once more. A round
// tripper must not change the request that it is given.
func replayable(request *http.Request) (sent *http.Request, again func() (io.ReadCloser, error), err error) {
	switch {
	case request.Body == nil || request.Body == http.NoBody:
		return request, func() (io.ReadCloser, error) { return http.NoBody, nil }, nil
	case request.GetBody != nil:
		return request, request.GetBody, nil
	}
	body, err := io.ReadAll(request.Body)
	_ = request.Body.Close()
	if err != nil {
		return nil, nil, err
	}
	again = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	sent = request.Clone(request.Context())
	sent.Body, _ = again()
	return sent, again, nil
}

// keep copies an answer for judgement and leaves response with a body that can still be read. Of
// what is not JSON, such as a stream of events, the body is not read. There is no body to judge in
// the answer to a HEAD, nor where it broke off.
func keep(response *http.Response) (judged *http.Response, bodiless bool) {
	kept := *response
	switch {
	case response.Body == http.NoBody:
		return &kept, response.Request.Method == http.MethodHead
	case !isJSON(response.Header.Get("Content-Type")):
		kept.Body = io.NopCloser(bytes.NewReader(nil))
		return &kept, false
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	kept.Body = io.NopCloser(bytes.NewReader(body))
	response.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		response.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), brokenReader{err}))
	}
	return &kept, err != nil
}

// isJSON tells whether a media type is JSON.
func isJSON(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && (mediaType == "application/json" || strings.HasSuffix(mediaType, "+json"))
}

// brokenReader ends a body as it ended on the way.
type brokenReader struct{ err error }

// Read returns why.
func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }
