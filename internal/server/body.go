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
	maxFree           = 64 << 10  // bytes of a context, evidence or meta as JSON
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
	body, flaws, err := readFlawed(r)
	if err == nil && len(flaws) > 0 {
		err = errFlaws(flaws)
	}
	return body, err
}

// readFlawed reads the JSON object in a request's body, with what of it cannot be stored.
func readFlawed(r *http.Request) (json.RawMessage, []fault, error) {
	body, err := requestOf(r).body.bytes, requestOf(r).body.err
	if err != nil {
		return nil, nil, err
	}
	if len(body) == 0 {
		return nil, nil, errBody("There is no body.")
	}
	flaws, err := checkInTurn(r.Context(), body)
	if err != nil {
		return nil, nil, err
	}
	if body = bytes.TrimSpace(body); body[0] != '{' {
		return nil, nil, errBody("The body is to be a JSON object.")
	}
	return body, flaws, nil
}

// checking are for the large bodies that are being checked. One of many small objects takes several times its
// size for as long as that lasts, and no more of them are done by doing more at a time.
var checking = make(slots, 4) //nolint:mnd // processors, about

// checkInTurn is checkJSON for a few large bodies at a time. The error may be that of ctx.
func checkInTurn(ctx context.Context, body []byte) ([]fault, error) {
	if len(body) >= heavy {
		leave, err := checking.await(ctx)
		if err != nil {
			return nil, err
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
// something else by it: of a report the context alone is a merge patch (RFC 7396), counts are not merged.
func isJSON(r *http.Request) bool {
	mediaType, parameters, err := mime.ParseMediaType(all(r, "Content-Type"))
	charset, given := parameters["charset"]
	return err == nil && mediaType == "application/json" && (!given || strings.EqualFold(charset, "utf-8")) && !isCompressed(r)
}

// all is everything that a request's header of the name says, however many there are.
func all(r *http.Request, name string) string { return strings.Join(r.Header.Values(name), ", ") }

// isCompressed tells whether a body is said to be encoded in some way.
func isCompressed(r *http.Request) bool {
	encoding := all(r, "Content-Encoding")
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
		refused.header = map[string]string{"Accept-Patch": "application/json"}
	}
	return &refused
}

// checkJSON refuses what is not JSON (RFC 8259), and says what of it JSON can say but PostgreSQL's jsonb
// cannot hold. Nothing is changed in silence.
func checkJSON(body []byte) (flaws []fault, err error) {
	switch {
	case !utf8.Valid(body):
		return nil, errBody("The body is not UTF-8.")
	case bytes.HasPrefix(body, []byte("\uFEFF")):
		return nil, errBody("The body begins with a byte order mark, which JSON has not (RFC 8259 section 8.1).")
	}
	// Depth first: a parser should not have to follow what nobody will read.
	if deepest(body) > maxJSONDepth {
		return nil, errBody(fmt.Sprintf("The body nests deeper than %d levels.", maxJSONDepth))
	}
	if !json.Valid(body) {
		var tree any
		if syntax, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(body, &tree)); ok {
			return nil, errBody(fmt.Sprintf("The body is not JSON: %s, at byte %d.", syntax.Error(), syntax.Offset))
		}
		return nil, errBody("The body is not JSON.")
	}
	return flawsOf(body)
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

// compact is how many bytes valid JSON has at most as it is stored, without space between its tokens, and with
// numbers written out, as PostgreSQL returns them: a few bytes of an exponent could become hundreds.
func compact(value []byte) (length int) {
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		case c == '"':
			end := endOfText(value, i)
			length += end + 1 - i
			i = end
		case c == '-' || c >= '0' && c <= '9':
			number := numberAt(value[i:])
			length += len(number)
			if e := bytes.IndexAny(number, "eE"); e >= 0 {
				n, _ := strconv.Atoi(string(number[e+1:])) // see storable
				length += max(n, -n)
			}
			i += len(number) - 1
		default:
			length++
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
