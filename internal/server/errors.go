package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbsqlc"
)

// problem is the body of every answer that is not 2xx or 3xx (RFC 9457).
type problem struct {
	Type      string  `json:"type"`
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	Detail    string  `json:"detail"`
	RequestID string  `json:"request_id"`
	Errors    []fault `json:"errors,omitempty"`
	// OperationRun is the run as it is, where its state is what stands in the way.
	OperationRun json.RawMessage `json:"operation_run,omitempty"`
}

// fault is one thing that is wrong with a request, at a query parameter, at a header or, in a body, at
// a JSON pointer (RFC 6901).
type fault struct {
	Parameter string `json:"parameter,omitempty"`
	Header    string `json:"header,omitempty"`
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
	run    *dbsqlc.OperationRun // the run in whose way its state stands
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

// without is the same answer without the run.
func (e *apiError) without() *apiError {
	without := *e
	without.run = nil
	return &without
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
	errUncomparable = &apiError{
		status: http.StatusBadRequest, kind: "invalid-parameters", title: "Invalid parameters",
		detail: "A value of a parameter cannot be compared with what is stored.",
	}
	errMediaType = &apiError{
		status: http.StatusUnsupportedMediaType, kind: "unsupported-media-type", title: "Unsupported media type",
		detail: "Send JSON in UTF-8, not compressed: Content-Type: application/json.",
	}
	errBodyTooLarge = &apiError{
		status: http.StatusRequestEntityTooLarge, kind: "body-too-large", title: "Body too large",
		detail: fmt.Sprintf("A body has at most %d bytes.", maxBody),
	}
	errForbidden = &apiError{
		status: http.StatusForbidden, kind: "forbidden", title: "Forbidden",
		detail: "Your role in this workspace allows reading but not writing.",
	}
	errNotManager = &apiError{
		status: http.StatusForbidden, kind: "forbidden", title: "Forbidden",
		detail: "This is for the managers and owners of the workspace.",
	}
	errArchived = &apiError{
		status: http.StatusForbidden, kind: "workspace-archived", title: "Workspace archived",
		detail: "This workspace is archived: it can be read and takes no more writes.",
	}
	errRevision = &apiError{
		status: http.StatusPreconditionFailed, kind: "precondition-failed", title: "Precondition failed",
		detail: "The revision that If-Match names is not the current one; read again and decide anew.",
	}
	errIdempotencyKeyReused = &apiError{
		status: http.StatusUnprocessableEntity, kind: "idempotency-key-reused", title: "Idempotency key reused",
		detail: "This Idempotency-Key came with another request before; a new request wants a new key.",
	}
	errUnavailable = &apiError{
		status: http.StatusServiceUnavailable, kind: "unavailable", title: "Service unavailable",
		detail: "The service cannot answer at the moment; try again.",
		header: map[string]string{"Retry-After": "1"},
	}
	// errHungUp is the answer to a client who has gone without waiting for one. Nobody reads it: it is
	// for the log and the metrics, with the status code that nginx has for it.
	errHungUp   = &apiError{status: 499, kind: "client-closed-request", title: "Client closed request"}
	errInternal = &apiError{
		status: http.StatusInternalServerError, kind: "internal", title: "Internal error",
		detail: "Something went wrong here; the request id finds it in the log.",
	}
)

// errInvalidParameters says everything that is wrong with a request's query parameters and headers.
func errInvalidParameters(faults []fault) error {
	return &apiError{
		status: http.StatusBadRequest, kind: "invalid-parameters", title: "Invalid parameters",
		detail: fmt.Sprintf("%d of the parameters and headers cannot be used.", len(faults)),
		faults: faults,
	}
}

// errBody says that a body cannot be read.
func errBody(detail string) *apiError {
	return &apiError{
		status: http.StatusBadRequest, kind: "invalid-body", title: "Invalid body", detail: detail,
	}
}

// errInvalidFields says everything that is wrong with what a body says.
func errInvalidFields(faults ...fault) *apiError {
	return &apiError{
		status: http.StatusUnprocessableEntity, kind: "invalid-fields", title: "Invalid fields",
		detail: fmt.Sprintf("%d of the members of the body cannot be used.", len(faults)),
		faults: faults,
	}
}

// errConflict says why a run cannot do what it is asked for in the state that it is in, and
// carries it.
func errConflict(run *dbsqlc.OperationRun, detail string) *apiError {
	return &apiError{
		status: http.StatusConflict, kind: "conflict", title: "Conflict", detail: detail, run: run,
	}
}

// fail is the one place where an answer that is not 2xx or 3xx is written, but for that of a probe, which is a
// text for people (health.go).
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	answer := answerFor(err)
	request := requestOf(r)
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		answer = errHungUp.because(err)
	}
	if isUnstorable(err) && isReading(r) {
		answer = errUncomparable.because(err) // there is no body to blame
	}
	s.logCause(r.Context(), request.id, answer)
	s.warnOf(r, answer)
	answer, allowed := s.addressed(r, answer)
	request.place.wait()
	body := answer.problem(request.id)
	if answer.run != nil && request.place.weigh(len(body)) != nil {
		body = answer.without().problem(request.id)
	}
	h := w.Header()
	h.Del("Link") // of the page that is not to be had
	limitCompressing(h, r, len(body))
	for name, value := range answer.header {
		h.Set(name, value)
	}
	if allowed != nil {
		h.Set("Allow", strings.Join(allowed, ", "))
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(answer.status)
	_, _ = w.Write(body)
}

// warnOf tells operators of answers that clients may bring about without end, and that one of them has to be
// told of: who is refused for asking too much, and why a token that has not run out is not taken.
func (s *Server) warnOf(r *http.Request, answer *apiError) {
	switch {
	case answer.status == http.StatusTooManyRequests:
		requestOf(r).refused = true
		if times, due := s.tooMany.due(); due {
			s.log.LogAttrs(r.Context(), slog.LevelWarn, "somebody asks too much and is refused",
				slog.String("client", s.clientAddress(r).String()), slog.String("detail", answer.detail), times)
		}
	case answer.kind == errTokenInvalid.kind && answer.cause != nil && !errors.Is(answer.cause, auth.ErrExpired):
		if times, due := s.doubtful.due(); due {
			s.log.LogAttrs(r.Context(), slog.LevelWarn, "a token is refused",
				slog.String("client", s.clientAddress(r).String()), slog.Any("error", answer.cause), times)
		}
	}
}

// logCause logs why an answer is what it is, if there is more to say than it says itself.
func (s *Server) logCause(ctx context.Context, requestID string, answer *apiError) {
	if answer.cause == nil {
		return
	}
	level := slog.LevelDebug
	if answer.status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	s.log.LogAttrs(ctx, level, "request failed", slog.String("request_id", requestID), slog.Any("error", answer.cause), traceID(ctx))
}

// addressed is the answer where the address is known for other methods than the request's, with those, or
// for none. Of an address below a workspace only members are told.
func (s *Server) addressed(r *http.Request, answer *apiError) (right *apiError, allowed []string) {
	refused, absent := answer.kind == errMethodNotAllowed.kind, answer.kind == errNotFound.kind
	if !refused && (!absent || requestOf(r).workspaceID == 0) {
		return answer, nil
	}
	switch allowed = s.allowedMethods(r); {
	case len(allowed) == 0:
		return errNotFound, nil
	case refused, !slices.Contains(allowed, r.Method):
		return errMethodNotAllowed, allowed
	default:
		return answer, nil
	}
}

// problem is the body of the answer.
func (e *apiError) problem(requestID string) []byte {
	p := problem{
		Type: "urn:runledger:problem:" + e.kind, Title: e.title, Status: e.status,
		Detail: e.detail, RequestID: requestID, Errors: e.faults,
	}
	if e.run != nil {
		p.OperationRun = appendRun(nil, e.run)
	}
	var body bytes.Buffer
	written := json.NewEncoder(&body)
	written.SetEscapeHTML(false) // it is no HTML, and people read it
	if err := written.Encode(p); err != nil {
		panic(err) // a problem is made of strings, numbers and JSON
	}
	return bytes.TrimSuffix(body.Bytes(), []byte("\n"))
}

// beneath is an answer whose faults are told from the root of the body, not of a part of it at pointer.
func beneath(pointer string, err error) error {
	answer, ok := errors.AsType[*apiError](err)
	if !ok || len(answer.faults) == 0 {
		return err
	}
	moved := *answer
	moved.faults = pointedFrom(pointer, answer.faults)
	return &moved
}

// pointedFrom are faults told from the root of the body, not of a part of it at pointer.
func pointedFrom(pointer string, faults []fault) []fault {
	moved := slices.Clone(faults)
	for i := range moved {
		moved[i].Pointer = pointer + moved[i].Pointer
	}
	return moved
}

// answerFor finds the answer for an error: its own, or the one for what the database said.
func answerFor(err error) *apiError {
	if answer, ok := errors.AsType[*apiError](err); ok {
		return answer
	}
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return errNotFound
	case isOutage(err), hasClass(err, "58"): // system error: the disk does not read or write, be it for one row
		return errUnavailable.because(err)
	case isForbidden(err):
		return errUnavailable.because(fmt.Errorf("the role of this server lacks privileges, see runledger migrate grant: %w", err))
	case isOtherSchema(err):
		return errUnavailable.because(fmt.Errorf("the schema is not that of this server, see runledger migrate status: %w", err))
	case isOutsideStates(err):
		return errConflict(nil, outsideStates).because(err)
	case isUnstorable(err):
		return errBody("A value in the body cannot be stored.").because(err)
	default:
		return errInternal.because(err)
	}
}

// isUnstorable tells whether the database refused a value that the checks let pass and that it cannot hold.
func isUnstorable(err error) bool { return hasClass(err, "22", "54") }

// hasClass tells whether the database refused a statement with an error of one of the classes of
// SQLSTATE (appendix A of PostgreSQL's manual).
func hasClass(err error, classes ...string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains(classes, pgErr.Code[:2])
}

// SQLSTATE of what a statement may be refused for, where it means one thing.
const (
	foreignKeyViolation = "23503"
	uniqueViolation     = "23505"
	checkViolation      = "23514"
)

// hasCode tells whether the database refused a statement with this SQLSTATE.
func hasCode(err error, code string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == code
}

const outsideStates = "The run is of the time before status, outcome and completed_at had to fit each other, and they do not. " +
	"It can be read, and while it is active a report makes it whole; nothing else of it can change."

// isOutsideStates tells whether a row of runs that was to be changed breaks a rule on its state. Such rows
// are older than the rules, which PostgreSQL holds against all that is written.
func isOutsideStates(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == checkViolation && strings.HasPrefix(pgErr.TableName, "operation_runs") // or a shard of it
}

// isReadOnly tells whether the database refused a statement because it takes no writes.
func isReadOnly(err error) bool { return hasCode(err, "25006") }

// isForbidden tells whether the role of the server may not do what a statement does, which no request
// can bring about: the privileges of a migration have not been granted.
func isForbidden(err error) bool { return hasCode(err, "42501") }

// isOtherSchema tells whether the database has not what a statement names: it is not migrated, or not as
// far as this server needs, or it has just been. Statements are fixed, so that no request can be the reason.
func isOtherSchema(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains([]string{
		"3F000", // no such schema
		"42P01", // no such table
		"42703", // no such column
		"42883", // no such function
		"0A000", // a statement that was prepared before a migration, after which its columns have other types
	}, pgErr.Code)
}

// isOutage tells whether the database could not be reached or gave up, which is no fault of the
// request and passes by itself.
func isOutage(err error) bool {
	// The time of a statement may run out while its connection waits to be told what to do, and stays.
	outOfTime := errors.Is(err, context.DeadlineExceeded)
	return outOfTime || errors.Is(err, errNoConnection) || errors.Is(err, errOverloaded) || hasClass(err,
		"08", // connection exception
		"25", // invalid transaction state: a primary that turned read-only
		"53", // insufficient resources: too many connections, disk full
		"57", // operator intervention: shutdown, statement timeout
		"40", // transaction rollback: a deadlock, which another try passes
	) || isLocked(err)
}

// isLocked tells whether somebody held a row for longer than a statement waits for it.
func isLocked(err error) bool { return hasCode(err, "55P03") }
