package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/workspace"
)

// maxBatch is how many operations a batch may have.
const maxBatch = 500

// operation is one part of a batch: a start or a report.
type operation struct {
	start  *start
	report *report
	at     string // the JSON pointer of the start or report
	faults []fault
}

// batchRuns does many starts and reports, answered one by one in order. A fault in one does not
// undo the others.
func (s *Server) batchRuns(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	p := parseParams(r).noCondition(r)
	p.noKey(r, "A batch has none; each start in it may have its own idempotency_key.")
	if err := p.done(); err != nil {
		return err
	}
	body, flaws, err := readBatch(r, "operations")
	if err != nil {
		return err
	}
	room := roomForParts(r)
	operations, err := parseBatch(body, flaws, ws, room)
	if err != nil {
		return err
	}
	results := s.doOperations(r.Context(), ws, operations, room)
	return s.answerParts(w, r, "operation_run", len(results), func(i int) part {
		result := &results[i]
		p := part{status: result.status, id: result.run.ID, err: result.err, replayed: result.replayed}
		if !result.named {
			p.row = func(b []byte) []byte { return appendRun(b, &result.run) }
		}
		return p
	})
}

// fit leaves of a result's run no more than its id where there is no room for it, and of the run that is in the
// way nothing: who reported on it knows its id.
func (i *result) fit(room *room) {
	const others = 1 << 10 // bytes that the other members have, about
	fits := func(run *dbsqlc.OperationRun) bool {
		return !isSpared(run) && room.fits(others+len(run.Context)+len(run.FailureSummary)+len(run.SummaryCounts))
	}
	conflict, is := errors.AsType[*apiError](i.err)
	switch {
	case is && conflict.run != nil && !fits(conflict.run):
		i.err = conflict.without()
	case i.err == nil && !fits(&i.run):
		i.named, i.run = true, dbsqlc.OperationRun{ID: i.run.ID}
	}
}

// parseBatch reads a batch. What is wrong with one operation is its own answer; one that has flaws is not read.
func parseBatch(body json.RawMessage, flaws map[int][]fault, ws workspace.Scope, room *room) ([]operation, error) {
	f := parseFields(body, "")
	raw := f.array("operations")
	operations := make([]operation, len(raw))
	for i, object := range raw {
		if operations[i].faults = flaws[i]; flaws[i] == nil {
			operations[i] = parseOperation(object, fmt.Sprintf("/operations/%d", i), ws)
		}
		operations[i].faults = room.faults(operations[i].faults)
	}
	if faults := f.faultless(); len(faults) > 0 {
		for _, op := range operations {
			faults = append(faults, op.faults...)
		}
		return nil, errInvalidFields(faults[:min(len(faults), maxFaults)]...)
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
		op.at = pointer + "/start"
		inner := parseFields(started, op.at)
		item := parseStart(inner, ws)
		if key, ok := inner.text("idempotency_key", maxName); ok {
			if !isKey(key) {
				inner.fault("idempotency_key", keyForm)
			}
			item.idempotencyKey, item.requestHash = key, requestHash(started)
		}
		op.start, op.faults = &item, inner.faultless()
		return op
	}
	op.at = pointer + "/report"
	inner := parseFields(reported, op.at)
	item := parseReport(inner)
	item.id = inner.requiredID("id")
	if revision := inner.id("revision"); revision != nil {
		item.revision = *revision
	}
	op.report, op.faults = &item, inner.faultless()
	return op
}
