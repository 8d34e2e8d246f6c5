package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

func TestALegacyIDFindsAndCountsTheRunThatStandsForIt(t *testing.T) {
	t.Parallel()
	pool := dbtest.Connect(t, dbtest.Fresh(t))
	h := newHarnessOn(t, pool, server.Options{})
	w, other := newWorker(t, h), newWorker(t, h)
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	foreign := other.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	want := func(query string, ids ...int64) {
		t.Helper()
		count := decode[struct{ Count int }](t, w.get(t, http.StatusOK, w.Readonly.Subject, w.path("/count?"+query)).body).Count
		if got := w.list(t, w.Readonly.Subject, w.path("?"+query)).ids(); !slices.Equal(got, ids) || count != len(ids) {
			t.Errorf("%s: runs %v and a count of %d, want %v", query, got, count, ids)
		}
	}
	const bridged, imported = "legacy_table=inventory_sync_runs&legacy_id=7", "legacy_table=backup_schedule_runs&legacy_id=8"
	want(bridged) // there is no archive
	w.exec(t, `CREATE SCHEMA legacy_archive`)
	w.exec(t, `CREATE TABLE legacy_archive.inventory_sync_runs (id bigint, operation_run_id bigint)`)
	w.exec(t, `CREATE TABLE legacy_archive.backup_schedule_runs (id bigint, operation_run_id bigint)`)
	w.exec(t, `CREATE TABLE legacy_archive.imported_runs (legacy_table text, legacy_id bigint, operation_run_id bigint)`)
	w.exec(t, `INSERT INTO legacy_archive.inventory_sync_runs VALUES (7, $1), (9, $2)`, run.ID, foreign.ID)
	w.exec(t, `INSERT INTO legacy_archive.imported_runs VALUES ('backup_schedule_runs', 8, $1), ('inventory_sync_runs', 8, $2)`, run.ID, foreign.ID)
	want(bridged, run.ID)
	want(imported, run.ID)
	want(bridged+"&status=queued", run.ID)
	want(bridged + "&status=completed")
	want("legacy_table=inventory_sync_runs&legacy_id=9") // of another workspace
	want("legacy_table=inventory_sync_runs&legacy_id=8")
	want("legacy_table=entra_group_sync_runs&legacy_id=7")
	for _, rest := range []string{"", "/count"} {
		for _, query := range []string{"legacy_id=7", "legacy_table=inventory_sync_runs", "legacy_table=inventory_sync_runs,backup_schedule_runs&legacy_id=7"} {
			w.get(t, http.StatusBadRequest, w.Readonly.Subject, w.path(fmt.Sprintf("%s?%s", rest, query)))
		}
	}
}
