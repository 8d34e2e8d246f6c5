package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The bounds of what a request may carry.
const (
	maxBody           = 1 << 20   // bytes
	maxJSONDepth      = 64        // nested objects and arrays
	maxContext        = 64 << 10  // bytes of a run's context as JSON
	maxFailures       = 100       // entries of a run's failure_summary
	maxName           = 255       // characters of a name
	maxFailureCode    = 128       // characters
	maxFailureMessage = 4000      // characters
	maxFailureSummary = 128 << 10 // bytes of a run's failure_summary as JSON
)

// received is a request's body, or why there is none.
type received struct {
	bytes []byte
	err   error
}

// receive takes in a request's body, as much as may be, if it is what can be read.
func receive(w http.ResponseWriter, r *http.Request) received {
	requestOf(r).place.wait()
	defer requestOf(r).place.work()
	if r.ContentLength < 0 { // it comes in chunks, of which there may be none
		body := bufio.NewReader(r.Body)
		if _, err := body.Peek(1); errors.Is(err, io.EOF) {
			return received{}
		}
		r.Body = struct {
			io.Reader
			io.Closer
		}{body, r.Body}
	}
	switch {
	case r.ContentLength == 0:
		return received{}
	case !isJSON(r):
		return received{err: mediaTypes(r)}
	case r.ContentLength > maxBody:
		return received{err: errBodyTooLarge}
	}
	body, err := takeIn(http.MaxBytesReader(w, r.Body, maxBody), r)
	_, refused := errors.AsType[*apiError](err)
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case refused:
		return received{err: err}
	case tooLarge:
		return received{err: errBodyTooLarge}
	case err != nil:
		return received{err: errBody("The body ended before it was complete.").because(err)}
	}
	return received{bytes: body}
}

// takeIn reads the body of r from its reader. One that comes slowly holds the memory of all of it, which is had
// before: as much as it is said to be or, where nothing is said and it is not small, as much as may be.
// The error is one of reading, or the answer where there is not enough.
func takeIn(body io.Reader, r *http.Request) ([]byte, error) {
	if size := r.ContentLength; size >= 0 {
		if err := requestOf(r).place.weigh(int(size)); err != nil {
			return nil, err
		}
		whole := make([]byte, size)
		_, err := io.ReadFull(body, whole)
		return whole, err
	}
	whole, err := io.ReadAll(io.LimitReader(body, heavy))
	if len(whole) < heavy || err != nil {
		return whole, err
	}
	if err := requestOf(r).place.weigh(maxBody); err != nil {
		return nil, err
	}
	rest, err := io.ReadAll(body)
	return append(whole, rest...), err
}

// readBody reads the JSON object in a request's body.
func readBody(r *http.Request) (json.RawMessage, error) {
	body, err := requestOf(r).body.bytes, requestOf(r).body.err
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return nil, errBody("There is no body.")
	}
	if err := checkInTurn(r.Context(), body); err != nil {
		return nil, err
	}
	if body = bytes.TrimSpace(body); body[0] != '{' {
		return nil, errBody("The body is to be a JSON object.")
	}
	return body, nil
}

// checking are for the large bodies that are being checked. One of many small objects takes several times its
// size for as long as that lasts, and no more of them are done by doing more at a time.
var checking = make(slots, 4) //nolint:mnd // processors, about

// checkInTurn is checkJSON for a few large bodies at a time. The error may be that of ctx.
func checkInTurn(ctx context.Context, body []byte) error {
	if len(body) >= heavy {
		leave, err := checking.await(ctx)
		if err != nil {
			return err
		}
		defer leave()
	}
	return checkJSON(body)
}

// noBody refuses a body that says anything, so that nobody takes for done what it asks for. An empty
// object says nothing.
func noBody(r *http.Request) error {
	body := requestOf(r).body
	if body.err != nil {
		return body.err
	}
	const space = " \t\r\n"
	text := bytes.Trim(body.bytes, space)
	inner, opens := bytes.CutPrefix(text, []byte("{"))
	inner, closes := bytes.CutSuffix(inner, []byte("}"))
	if len(text) == 0 || opens && closes && len(bytes.Trim(inner, space)) == 0 {
		return nil
	}
	return errBody("This request takes no body.")
}

// isJSON tells whether a body is said to be plain JSON in UTF-8. Other types that are written in JSON mean
// something else by it, but for a patch: what it says of a context is a merge patch (RFC 7396).
func isJSON(r *http.Request) bool {
	mediaType, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, given := parameters["charset"]
	isType := mediaType == "application/json" || r.Method == http.MethodPatch && mediaType == "application/merge-patch+json"
	return err == nil && isType && (!given || strings.EqualFold(charset, "utf-8")) && !isCompressed(r)
}

// isCompressed tells whether a body is said to be encoded in some way.
func isCompressed(r *http.Request) bool {
	encoding := r.Header.Get("Content-Encoding")
	return encoding != "" && !strings.EqualFold(encoding, "identity")
}

// mediaTypes refuses a body that isJSON does not take, and says what can be sent instead (RFC 9110 section
// 12.5.3, RFC 5789 section 2.2).
func mediaTypes(r *http.Request) error {
	refused := *errMediaType
	switch {
	case isCompressed(r):
		refused.header = map[string]string{"Accept-Encoding": "identity"}
	case r.Method == http.MethodPatch:
		refused.detail = "Send JSON in UTF-8, not compressed: Content-Type: application/json or application/merge-patch+json."
		refused.header = map[string]string{"Accept-Patch": "application/json, application/merge-patch+json"}
	}
	return &refused
}

// checkJSON refuses what is not JSON (RFC 8259) and what JSON can say but PostgreSQL's jsonb
// cannot hold: U+0000, half a surrogate pair, numbers beyond any use, two members of one name.
// Nothing is changed in silence.
func checkJSON(body []byte) error {
	switch {
	case !utf8.Valid(body):
		return errBody("The body is not UTF-8.")
	case bytes.HasPrefix(body, []byte("\uFEFF")):
		return errBody("The body begins with a byte order mark, which JSON has not (RFC 8259 section 8.1).")
	}
	// Depth first: a parser should not have to follow what nobody will read.
	if deepest(body) > maxJSONDepth {
		return errBody(fmt.Sprintf("The body nests deeper than %d levels.", maxJSONDepth))
	}
	if !json.Valid(body) {
		var tree any
		if syntax, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(body, &tree)); ok {
			return errBody(fmt.Sprintf("The body is not JSON: %s, at byte %d.", syntax.Error(), syntax.Offset))
		}
		return errBody("The body is not JSON.")
	}
	if err := checkNames(body); err != nil {
		return err
	}
	return checkValues(body)
}

// deepest is how many objects and arrays of JSON stand in each other at most.
func deepest(body []byte) int {
	most, depth, inString := 0, 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			most = max(most, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return most
}

// checkValues looks at the escapes and the numbers of valid JSON.
func checkValues(body []byte) error {
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"':
			end, ok := checkString(body, i+1)
			if !ok {
				return errBody(`A text holds \u0000 or half of a surrogate pair, which cannot be stored.`)
			}
			i = end
		case c == '-' || c >= '0' && c <= '9':
			number := numberAt(body[i:])
			if !storable(number) {
				return errBody("A number is longer than 1000 digits or has an exponent beyond 308.")
			}
			i += len(number) - 1
		}
	}
	return nil
}

// checkString looks at the escapes of the string that begins at i and returns where it ends.
func checkString(body []byte, i int) (end int, ok bool) {
	high := false // the escape before was the first half of a surrogate pair
	for ; ; i++ {
		c := body[i]
		unicode := c == '\\' && body[i+1] == 'u'
		var unit uint64
		if unicode {
			unit, _ = strconv.ParseUint(string(body[i+2:i+6]), 16, 32)
		}
		low := unicode && unit >= 0xDC00 && unit <= 0xDFFF
		if high != low {
			return 0, false
		}
		high = unicode && unit >= 0xD800 && unit <= 0xDBFF
		switch {
		case unicode && unit == 0:
			return 0, false
		case unicode:
			i += 5
		case c == '\\':
			i++
		case c == '"':
			return i, true
		}
	}
}

// writtenOut is how many bytes valid JSON has about when its numbers are written without exponents, as
// PostgreSQL returns them: a few bytes could become hundreds.
func writtenOut(value []byte) int {
	length := len(value)
	if !bytes.ContainsAny(value, "eE") {
		return length
	}
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"':
			for i++; value[i] != '"'; i++ {
				if value[i] == '\\' {
					i++
				}
			}
		case c == '-' || c >= '0' && c <= '9':
			number := numberAt(value[i:])
			if e := bytes.IndexAny(number, "eE"); e >= 0 {
				n, _ := strconv.Atoi(string(number[e+1:])) // see storable
				length += max(n, -n)
			}
			i += len(number) - 1
		}
	}
	return length
}

// numberAt is the number that valid JSON begins with.
func numberAt(value []byte) []byte {
	end := 0
	for end < len(value) && strings.IndexByte("0123456789+-.eE", value[end]) >= 0 {
		end++
	}
	return value[:end]
}

// storable tells whether a number is one that PostgreSQL's numeric holds and others can read.
func storable(number []byte) bool {
	const longest, largest = 1000, 308
	if len(number) > longest {
		return false
	}
	_, exponent, has := bytes.Cut(bytes.ToLower(number), []byte{'e'})
	if !has {
		return true
	}
	n, err := strconv.Atoi(string(exponent))
	return err == nil && n >= -largest && n <= largest
}
