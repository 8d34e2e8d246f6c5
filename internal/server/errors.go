package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// problem is the body of every answer that is not 2xx or 3xx (RFC 9457).
type problem struct {
	Type      string  `json:"type"`
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	Detail    string  `json:"detail"`
	RequestID string  `json:"request_id"`
	Errors    []fault `json:"errors,omitempty"`
}

// fault is one thing that is wrong with a request, at a query parameter or, in a body, at a JSON
// pointer (RFC 6901).
type fault struct {
	Parameter string `json:"parameter,omitempty"`
	Pointer   string `json:"pointer,omitempty"`
	Detail    string `json:"detail"`
}

// apiError is an error that knows its answer. What it says is for the caller; its cause is for
// the log alone.
type apiError struct {
	status int
	kind   string // the end of the problem's type
	title  string
	detail string
	faults []fault
	header map[string]string
	cause  error
}

func (e *apiError) Error() string {
	if e.cause != nil {
		return e.title + ": " + e.cause.Error()
	}
	return e.title
}

func (e *apiError) Unwrap() error { return e.cause }

// because is the same answer with a cause for the log.
func (e *apiError) because(cause error) *apiError {
	with := *e
	with.cause = cause
	return &with
}

const bearerChallenge = `Bearer realm="runledger"`

var (
	errNotFound = &apiError{
		status: http.StatusNotFound, kind: "not-found", title: "Not found",
		detail: "There is nothing at this address, or nothing that you may see.",
	}
	errMethodNotAllowed = &apiError{
		status: http.StatusMethodNotAllowed, kind: "method-not-allowed", title: "Method not allowed",
		detail: "This address does not take that method; the Allow header lists those that it takes.",
	}
	errTokenMissing = &apiError{
		status: http.StatusUnauthorized, kind: "unauthorized", title: "Unauthorized",
		detail: "Send a valid token: Authorization: Bearer <token>.",
		header: map[string]string{"WWW-Authenticate": bearerChallenge},
	}
	errTokenInvalid = &apiError{
		status: http.StatusUnauthorized, kind: "unauthorized", title: "Unauthorized",
		detail: "Send a valid token: Authorization: Bearer <token>.",
		header: map[string]string{"WWW-Authenticate": bearerChallenge + `, error="invalid_token"`},
	}
	errUnavailable = &apiError{
		status: http.StatusServiceUnavailable, kind: "unavailable", title: "Service unavailable",
		detail: "The service cannot answer at the moment; try again.",
		header: map[string]string{"Retry-After": "1"},
	}
	errInternal = &apiError{
		status: http.StatusInternalServerError, kind: "internal", title: "Internal error",
		detail: "Something went wrong here; the request id finds it in the log.",
	}
)

// errInvalidParameters says everything that is wrong with a request's query parameters.
func errInvalidParameters(faults []fault) error {
	return &apiError{
		status: http.StatusBadRequest, kind: "invalid-parameters", title: "Invalid parameters",
		detail: fmt.Sprintf("%d of the query parameters cannot be used.", len(faults)),
		faults: faults,
	}
}

// fail is the one place where an answer that is not 2xx or 3xx is written.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	answer := answerFor(err)
	request := requestOf(r)
	if answer.cause != nil {
		level := slog.LevelDebug
		if answer.status >= http.StatusInternalServerError {
			level = slog.LevelError
		}
		s.log.LogAttrs(r.Context(), level, "request failed",
			slog.String("request_id", request.id), slog.Any("error", answer.cause))
	}
	body, err := json.Marshal(problem{
		Type: "urn:runledger:problem:" + answer.kind, Title: answer.title, Status: answer.status,
		Detail: answer.detail, RequestID: request.id, Errors: answer.faults,
	})
	if err != nil {
		panic(err) // a problem is made of strings and numbers
	}
	h := w.Header()
	for name, value := range answer.header {
		h.Set(name, value)
	}
	if answer.status == http.StatusMethodNotAllowed {
		h.Set("Allow", strings.Join(s.allowedMethods(r), ", "))
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(answer.status)
	_, _ = w.Write(body)
}

// answerFor finds the answer for an error: its own, or the one for what the database said.
func answerFor(err error) *apiError {
	if answer, ok := errors.AsType[*apiError](err); ok {
		return answer
	}
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return errNotFound
	case isOutage(err):
		return errUnavailable.because(err)
	default:
		return errInternal.because(err)
	}
}

// isOutage tells whether the database could not be reached or gave up, which is no fault of the
// request and passes by itself.
func isOutage(err error) bool {
	if errors.Is(err, errNoConnection) {
		return true
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch pgErr.Code[:2] { // the classes of SQLSTATE, appendix A of PostgreSQL's manual
	case "08", // connection exception
		"25", // invalid transaction state: a primary that turned read-only
		"53", // insufficient resources: too many connections, disk full
		"57": // operator intervention: shutdown, statement timeout
		return true
	default:
		return false
	}
}
