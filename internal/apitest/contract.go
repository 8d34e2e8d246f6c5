package apitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/content"
	"github.com/pb33f/libopenapi-validator/router"
	"github.com/pb33f/libopenapi-validator/schema_validation"
	"github.com/pb33f/libopenapi/datamodel/high/base"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"

	"github.com/runledger/runledger/api"
)

// contract is the document, ready to be asked. Nothing in it changes after load.
type contract struct {
	router  router.Router
	whole   validator.Validator
	headers validator.Validator // for answers without a body
	problem *base.Schema
	schemas schema_validation.SchemaValidator
	partial *contract // for answers to requests that name fields
}

// load reads the document. Rows may be partial only where that was asked for, which the document
// can say in words alone.
var load = sync.OnceValues(func() (*contract, error) {
	const partial = "              - $ref: '#/components/schemas/PartialRow'\n"
	c, err := read(bytes.ReplaceAll(api.YAML(), []byte(partial), nil))
	if err != nil {
		return nil, err
	}
	c.partial, err = read(api.YAML())
	return c, err
})

// read makes a contract of a document.
func read(text []byte) (*contract, error) {
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		return nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	model, err := document.BuildV3Model()
	if err != nil {
		return nil, fmt.Errorf("understand openapi.yaml: %w", err)
	}
	decoder := content.DecoderFunc(func(in *content.DecodeInput) (any, error) { return decodeJSON(in.Body) })
	options := []config.Option{
		config.WithFormatAssertions(),
		config.WithRejectUndeclaredRequestBody(),
		config.WithRegexCache(&sync.Map{}),
		config.WithBodyDecoder("application/json", decoder),
		config.WithBodyDecoder("application/*+json", decoder),
	}
	if ok, errs := schema_validation.ValidateOpenAPIDocument(document); !ok {
		return nil, fmt.Errorf("openapi.yaml is no OpenAPI document: %w", errs[0])
	}
	problem, ok := model.Model.Components.Schemas.Get("Problem")
	if !ok {
		return nil, errors.New("openapi.yaml has no schema Problem")
	}
	schemas := schema_validation.NewSchemaValidator(options...)
	// The first use of a schema renders it, which several tests at once must not do; the validator
	// remembers what comes of it.
	schemas.ValidateSchemaObject(problem.Schema(), map[string]any{})
	return &contract{
		router:  router.NewRouter(&model.Model, router.WithPathOnlyMatching()),
		whole:   validator.NewValidatorFromV3Model(&model.Model, options...),
		headers: validator.NewValidatorFromV3Model(&model.Model, append(options, config.WithoutResponseBodyValidation())...),
		problem: problem.Schema(),
		schemas: schemas,
	}, nil
}

// exchange is a request with its answer, both with bodies that can be read again.
type exchange struct {
	request  *http.Request
	response *http.Response
	bodiless bool // the answer's body cannot be judged
}

// violations is everything by which an exchange breaks the contract.
func (c *contract) violations(e *exchange) []string {
	if c.partial != nil && e.request.URL.Query().Has("fields") {
		c = c.partial
	}
	// HEAD is documented as GET without the body (RFC 9110, section 9.3.2).
	request := e.request
	if request.Method == http.MethodHead {
		request = request.Clone(request.Context())
		request.Method = http.MethodGet
	}
	route, err := c.router.FindRoute(request)
	if err != nil || route.Operation == nil {
		return c.unrouted(e)
	}
	judge := c.whole
	if e.bodiless {
		judge = c.headers
	}
	var found []string
	if accepted(e.response.StatusCode) {
		_, errs := judge.ValidateHttpRequestSync(request)
		found = append(found, describe("request", errs)...)
		found = append(found, undocumentedParameters(request, route)...)
	}
	_, errs := judge.ValidateHttpResponse(request, e.response)
	found = append(found, describe("response", errs)...)
	return append(found, undocumentedHeaders(e.response, route.Operation)...)
}

// accepted tells whether a status says that the request was a good one.
func accepted(status int) bool {
	return status >= 200 && status < 300 || status == http.StatusNotModified
}

// unrouted judges the answer to a request that no operation is documented for.
func (c *contract) unrouted(e *exchange) []string {
	var found []string
	switch e.response.StatusCode {
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusServiceUnavailable:
	default:
		return []string{"no such operation is documented"}
	}
	if got := e.response.Header.Get("Content-Type"); got != "application/problem+json" {
		return []string{fmt.Sprintf("response: Content-Type is %q, not a problem's", got)}
	}
	if e.response.StatusCode == http.StatusMethodNotAllowed && len(e.response.Header.Values("Allow")) == 0 {
		found = append(found, "response: a 405 without Allow (RFC 9110, section 15.5.6)")
	}
	if e.bodiless {
		return found
	}
	body, err := decodeJSON(e.response.Body)
	if err != nil {
		return append(found, "response: "+err.Error())
	}
	_, errs := c.schemas.ValidateSchemaObject(c.problem, body)
	return append(found, describe("response", errs)...)
}

// undocumentedParameters are the query parameters that an operation accepted and does not
// document. An operation that documents no 400 ignores what it does not know.
func undocumentedParameters(request *http.Request, route *router.Route) []string {
	if route.Operation.Responses.Codes.GetOrZero(strconv.Itoa(http.StatusBadRequest)) == nil {
		return nil
	}
	var found []string
	for name := range request.URL.Query() {
		documented := func(p *v3.Parameter) bool { return p.In == "query" && p.Name == name }
		if !slices.ContainsFunc(route.Operation.Parameters, documented) &&
			!slices.ContainsFunc(route.PathItem.Parameters, documented) {
			found = append(found, fmt.Sprintf("request: the query parameter %q is not documented", name))
		}
	}
	return found
}

// alike are the headers that every answer has alike; the description tells of them in its text.
var alike = map[string]bool{"Content-Security-Policy": true, "Referrer-Policy": true, "Vary": true}

// undocumentedHeaders are the headers of an answer that its operation does not document. Those of
// the connection and of the content as such need not be, nor those that every answer has alike.
func undocumentedHeaders(response *http.Response, operation *v3.Operation) []string {
	documented := operation.Responses.Codes.GetOrZero(strconv.Itoa(response.StatusCode))
	if documented == nil {
		return nil // reported already
	}
	known := map[string]bool{"Content-Type": true, "Content-Length": true, "Date": true, "Connection": true}
	for name := range alike {
		known[name] = true
	}
	if documented.Headers != nil {
		for name := range documented.Headers.KeysFromOldest() {
			known[http.CanonicalHeaderKey(name)] = true
		}
	}
	var found []string
	for name := range response.Header {
		if !known[name] {
			found = append(found, fmt.Sprintf("response: the header %s is not documented", name))
		}
	}
	return found
}

// decodeJSON reads one JSON value that is not null, which the library would let pass for anything.
// The library knows no numbers but float64s: one that is too large for them, which free data may
// have, becomes the largest.
func decodeJSON(from io.Reader) (any, error) {
	text, err := io.ReadAll(from)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("the body is not JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the body is more than one JSON value")
	}
	if value == nil {
		return nil, errors.New("the body is null")
	}
	return floats(value), nil
}

// floats replaces the numbers in value.
func floats(value any) any {
	switch value := value.(type) {
	case json.Number:
		f, err := value.Float64()
		if err != nil {
			return math.Copysign(math.MaxFloat64, f)
		}
		if _, err := value.Int64(); err == nil && f >= math.MaxInt64 {
			return math.Nextafter(f, 0) // rounding has left the range of an int64
		}
		return f
	case []any:
		for i, item := range value {
			value[i] = floats(item)
		}
	case map[string]any:
		for name, member := range value {
			value[name] = floats(member)
		}
	}
	return value
}
