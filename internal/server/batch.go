package server

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/runledger/runledger/internal/workspace"
)

// maxBatch is how many operations a batch may have.
const maxBatch = 500

// operation is one part of a batch: a start or a report.
type operation struct {
	start  *start
	report *report
	faults []fault
}

// batchRuns does many starts and reports, answered one by one in order. A fault in one does not
// undo the others.
func (s *Server) batchRuns(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	if err := noParams(r); err != nil {
		return err
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	operations, err := parseBatch(body, ws)
	if err != nil {
		return err
	}
	results := s.doOperations(r.Context(), ws, operations)
	return answerMulti(w, func(b []byte) []byte { return appendResults(b, requestOf(r).id, results) })
}

// parseBatch reads a batch. What is wrong with one operation is its own answer.
func parseBatch(body json.RawMessage, ws workspace.Scope) ([]operation, error) {
	f := parseFields(body, "")
	value, _ := f.value("operations")
	var raw []json.RawMessage
	if err := json.Unmarshal(value, &raw); value == nil || err != nil || len(raw) == 0 || len(raw) > maxBatch {
		f.fault("operations", "An array of 1 to %d objects, each with start or report.", maxBatch)
	}
	if faults := f.faultless(); len(faults) > 0 {
		return nil, errInvalidFields(faults...)
	}
	operations := make([]operation, len(raw))
	for i, object := range raw {
		operations[i] = parseOperation(object, fmt.Sprintf("/operations/%d", i), ws)
	}
	return operations, nil
}

func parseOperation(object json.RawMessage, pointer string, ws workspace.Scope) operation {
	f := parseFields(object, pointer)
	var op operation
	started, isStart := f.value("start")
	reported, isReport := f.value("report")
	if isStart == isReport && len(f.faults) == 0 {
		f.faults = append(f.faults, fault{Pointer: pointer, Detail: "Give either start or report."})
	}
	if op.faults = f.faultless(); len(op.faults) > 0 {
		return op
	}
	if isStart {
		inner := parseFields(started, pointer+"/start")
		item := parseStart(inner, ws)
		if key, ok := inner.text("idempotency_key", maxName); ok {
			item.idempotencyKey, item.requestHash = key, requestHash(started)
		}
		op.start, op.faults = &item, inner.faultless()
		return op
	}
	inner := parseFields(reported, pointer+"/report")
	item := parseReport(inner)
	id := inner.id("id")
	if id == nil && len(inner.faults) == 0 {
		inner.fault("id", "It is required.")
	} else if id != nil {
		item.id = *id
	}
	if revision := inner.id("revision"); revision != nil {
		item.revision = *revision
	}
	op.report, op.faults = &item, inner.faultless()
	return op
}

// appendResults appends the body of the answer to a batch (a 207 in the manner of RFC 4918).
func appendResults(b []byte, requestID string, results []result) []byte {
	b = append(b, `{"results":[`...)
	for i := range results {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		if results[i].err != nil {
			answer := answerFor(results[i].err)
			b = appendInt(b, "status", int64(answer.status))
			b = appendJSON(b, "problem", answer.problem(requestID))
		} else {
			b = appendInt(b, "status", int64(results[i].status))
			b = appendKey(b, "operation_run")
			b = appendRun(b, &results[i].run)
		}
		b = append(b, '}')
	}
	return append(b, `]}`...)
}
