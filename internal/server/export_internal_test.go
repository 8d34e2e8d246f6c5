package server

import (
	"bytes"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/dbtest"
)

// TestADefectInAnExportsReaderEndsTheExportAndNothingElse holds that of a panic on a goroutine which is not
// the request's, where nobody else would catch it.
func TestADefectInAnExportsReaderEndsTheExportAndNothingElse(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	w := dbtest.NewWorkspace(t, pool)
	const each = 3
	if _, err := pool.Exec(t.Context(), `INSERT INTO operation_runs (workspace_id, type)
		SELECT $1, 'inventory_sync' FROM generate_series(1, $2)`, w.ID, 2*each); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := &Server{
		db: &database{pool: pool, acquireTimeout: time.Minute, queryTimeout: time.Minute}, queries: dbsqlc.New(),
		log: slog.New(slog.NewTextHandler(&log, nil)), exports: exportLimits{reading: make(slots, 1)},
	}
	rows := 0
	format := &exportFormat{
		head: listFormats[1].head,
		row: func(b []byte, row rawRow) []byte {
			if rows++; rows > each {
				panic("a row that nobody can write")
			}
			return listFormats[1].row(b, row)
		},
	}
	order := runOrders["-created_at"]
	e := &export{
		list: runList{server: s, workspaceID: w.ID, order: order}, show: selection{members: runMembers},
		format: format, limit: each, receipt: receipt{sum: sha256.New()}, requestID: "the-request",
	}
	first := e.page(t.Context(), order.first(), nil)
	if first.err != nil || first.rows != each {
		t.Fatalf("a first page of %d rows: %v", first.rows, first.err)
	}
	answer := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	err := e.send(answer, r, http.NewResponseController(answer), first)
	if err == nil || !strings.Contains(err.Error(), "nobody can write") {
		t.Errorf("the export ends with %v", err)
	}
	if got := answer.Body.String(); strings.Count(got, "\n") != each || strings.Contains(got, "receipt") {
		t.Errorf("it has sent %.1000s", got)
	}
	if !strings.Contains(log.String(), `"panic while an export was read" request_id=the-request`) || !strings.Contains(log.String(), "export_internal_test.go") {
		t.Errorf("the log does not tell where: %s", log.String())
	}
	if len(s.exports.reading) > 0 || pool.Stat().AcquiredConns() > 0 {
		t.Error("the reader holds what it had taken")
	}
}
