package client_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/api/client"
	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/apitest"
	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	issuer   = "https://issuer.example"
	audience = "runledger"
	secret   = "a secret of the tests, 32 bytes or more"
)

// service is the address of a server on pool.
func service(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	verifier, err := auth.NewVerifier(t.Context(), auth.Config{
		HS256Secret: []byte(secret), Issuer: issuer, Audience: audience,
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Options{Pool: pool, Verify: verifier.Verify, Log: log, SchemaVersion: db.LatestVersion()})
	served := httptest.NewServer(s)
	t.Cleanup(func() {
		served.Close()
		s.Close()
	})
	return served.URL
}

// clientOf is a client that signs in as subject, all of whose exchanges are held to the contract.
func clientOf(t *testing.T, url, subject string) *client.ClientWithResponses {
	t.Helper()
	signer, err := auth.NewSecretSigner([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	token := func(context.Context) (string, error) {
		return signer.Sign(subject, issuer, audience, time.Minute, time.Now())
	}
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	c, err := client.New(url, token, client.WithHTTPClient(&http.Client{
		Transport: apitest.NewValidator(t).Transport(base),
	}))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheClientReadsAListToItsEnd(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	ws := dbtest.NewWorkspace(t, pool)
	c := clientOf(t, service(t, pool), ws.Readonly.Subject)
	const runs = 7
	rows, err := pool.Query(t.Context(), `
		INSERT INTO operation_runs (workspace_id, type, status, outcome, completed_at, context)
		SELECT $1, 'backup_schedule_run', 'completed', 'succeeded', now(), '{"backup_schedule_id": 12, "n": 1e30}'
		FROM generate_series(1, $2) RETURNING id`, ws.ID, runs)
	if err != nil {
		t.Fatal(err)
	}
	want, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(want)

	limit := 3
	params := client.ListOperationRunsParams{
		Limit:   &limit,
		Type:    &client.RunTypes{"backup_schedule_run", "inventory_sync"},
		Status:  &client.RunStatuses{client.RunStatusCompleted, client.RunStatusRunning},
		Outcome: &client.RunOutcomes{client.RunOutcomeSucceeded},
	}
	all := c.AllOperationRuns(t.Context(), ws.ID, params)
	for range 2 { // a sequence can be read again
		var got []int64
		for run, err := range all {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, run.ID)
			if !strings.Contains(string(run.Context), "1000000000000000000000000000000") {
				t.Errorf("the number in the context did not come through: %s", run.Context)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("runs %d, want %d", got, want)
		}
	}
	for run, err := range all { // and need not be read to its end
		if err != nil || run.ID != want[0] {
			t.Errorf("run %d, error %v; want run %d", run.ID, err, want[0])
		}
		break
	}
}

func TestTheClientReadsEveryKindOfRow(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	ws := dbtest.NewWorkspace(t, pool)
	tenant := dbtest.NewTenant(t, pool, ws.ID)
	c := clientOf(t, service(t, pool), ws.Operator.Subject)
	ctx := t.Context()
	var run, finding, item, schedule int64
	for _, insert := range []struct {
		id   *int64
		sql  string
		args []any
	}{
		{&schedule, `INSERT INTO backup_schedules (workspace_id, tenant_id, name, frequency, time_of_day, days_of_week)
			VALUES ($1, $2, 'nightly', 'weekly', '22:00', '[6]') RETURNING id`, nil},
		{&run, `INSERT INTO operation_runs (workspace_id, tenant_id, type, status, started_at, context)
			VALUES ($1, $2, 'backup_schedule_retention', 'running', now(), jsonb_build_object('backup_schedule_id', $3::bigint::text))
			RETURNING id`, []any{&schedule}},
		{&finding, `INSERT INTO findings (workspace_id, tenant_id, finding_type, fingerprint, current_operation_run_id)
			VALUES ($1, $2, 'drift', 'f', $3) RETURNING id`, []any{&run}},
		{&item, `INSERT INTO inventory_items (workspace_id, tenant_id, policy_type, external_id, last_seen_operation_run_id)
			VALUES ($1, $2, 'mobileApp', 'x', $3) RETURNING id`, []any{&run}},
	} {
		if err := pool.QueryRow(ctx, insert.sql, append([]any{ws.ID, tenant}, insert.args...)...).Scan(insert.id); err != nil {
			t.Fatal(err)
		}
	}

	if got := only(t, c.AllWorkspaces(ctx, client.ListWorkspacesParams{})); got.ID != ws.ID || got.Role != "operator" {
		t.Errorf("workspace %+v", got)
	}
	if got := only(t, c.AllBackupSchedules(ctx, ws.ID, client.ListBackupSchedulesParams{})); got.ID != schedule ||
		got.TimeOfDay != "22:00:00" || string(got.DaysOfWeek) != "[6]" {
		t.Errorf("schedule %+v", got)
	}
	if got := only(t, c.AllBackupScheduleRuns(ctx, ws.ID, schedule, client.ListBackupScheduleRunsParams{})); got.ID != run ||
		got.CompletedAt != nil || got.StartedAt == nil {
		t.Errorf("run %+v", got)
	}
	if got := only(t, c.AllFindings(ctx, ws.ID, client.ListFindingsParams{})); got.ID != finding ||
		got.BaselineOperationRun != nil || got.CurrentOperationRun == nil || got.CurrentOperationRun.ID != run {
		t.Errorf("finding %+v", got)
	}
	if got := only(t, c.AllInventoryItems(ctx, ws.ID, client.ListInventoryItemsParams{})); got.ID != item ||
		got.LastSeenOperationRun == nil || got.LastSeenOperationRun.ID != run {
		t.Errorf("item %+v", got)
	}
	if got := only(t, c.AllTenants(ctx, ws.ID, client.ListTenantsParams{})); got.ID != tenant || got.Name == "" || got.ExternalID == nil {
		t.Errorf("tenant %+v", got)
	}
	count, err := c.CountOperationRunsWithResponse(ctx, ws.ID, &client.CountOperationRunsParams{})
	if err != nil || count.JSON200 == nil || count.JSON200.Count != 1 || count.JSON200.Relation != client.CountRelationEq {
		t.Errorf("count %s, error %v", count.Body, err)
	}
}

// only is the one row of a list that has no other.
func only[Row any](t *testing.T, all iter.Seq2[Row, error]) Row {
	t.Helper()
	var found []Row
	for row, err := range all {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, row)
	}
	if len(found) != 1 {
		t.Fatalf("%d rows, want 1", len(found))
	}
	return found[0]
}

func TestAStrangersListIsAnErrorThatCarriesTheProblem(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	ws := dbtest.NewWorkspace(t, pool)
	c := clientOf(t, service(t, pool), dbtest.NewUser(t, pool).Subject)
	rows := 0
	for _, err := range c.AllOperationRuns(t.Context(), ws.ID, client.ListOperationRunsParams{}) {
		rows++
		failed, ok := errors.AsType[*client.Error](err)
		if !ok || failed.StatusCode != http.StatusNotFound || failed.Problem.Type != "urn:runledger:problem:not-found" {
			t.Errorf("error %v, want the 404", err)
		}
	}
	if rows != 1 {
		t.Errorf("the sequence has %d elements, want the error alone", rows)
	}
}

func TestAnErrorNamesEveryFaultAndTheRequest(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	ws := dbtest.NewWorkspace(t, pool)
	c := clientOf(t, service(t, pool), ws.Readonly.Subject)
	limit, cursor, id := 0, "forged", "request-7"
	params := client.ListOperationRunsParams{Limit: &limit, Cursor: &cursor, XRequestID: &id}
	for _, err := range c.AllOperationRuns(t.Context(), ws.ID, params) {
		if err == nil {
			t.Fatal("a page came for a forged cursor")
		}
		for _, part := range []string{"400", "limit:", "cursor:", "request-7"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("error %v does not say %q", err, part)
			}
		}
	}
}

func TestAnErrorNamesTheHeaderAtFault(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	ws := dbtest.NewWorkspace(t, pool)
	c := clientOf(t, service(t, pool), ws.Readonly.Subject)
	position := "forged"
	params := client.ListOperationRunsParams{RunledgerPosition: &position}
	for _, err := range c.AllOperationRuns(t.Context(), ws.ID, params) {
		if err == nil || !strings.Contains(err.Error(), "Runledger-Position:") {
			t.Errorf("error %v does not name the header", err)
		}
	}
}

func TestWithoutATokenNothingIsSent(t *testing.T) {
	t.Parallel()
	refused := errors.New("the vault is closed")
	sent := false
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		sent = true
		_, _ = io.WriteString(w, "{}")
	}))
	defer served.Close()
	c, err := client.New(served.URL, func(context.Context) (string, error) { return "", refused })
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range c.AllWorkspaces(t.Context(), client.ListWorkspacesParams{}) {
		if !errors.Is(err, refused) {
			t.Errorf("error %v, want that of the token", err)
		}
	}
	if sent {
		t.Error("a request was sent without a token")
	}
}

func TestAnAnswerOfAProxyIsAnErrorWithoutAProblem(t *testing.T) {
	t.Parallel()
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "bad gateway", http.StatusBadGateway)
	}))
	defer served.Close()
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	c, err := client.New(served.URL, client.StaticToken("token"), client.WithHTTPClient(&http.Client{Transport: base}))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range c.AllWorkspaces(t.Context(), client.ListWorkspacesParams{}) {
		failed, ok := errors.AsType[*client.Error](err)
		if !ok || failed.StatusCode != http.StatusBadGateway || failed.Problem != nil {
			t.Errorf("error %v, want status 502 without a problem", err)
		}
	}
}
