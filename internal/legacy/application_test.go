package legacy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// application writes as the old application does: with the statements that its ORM sends, in
// sessions of its own time zone, unaware of everything that is going on.
type application struct {
	conn     *pgx.Conn
	random   *rand.Rand
	worker   int
	n        int
	slowest  time.Duration
	runs     []int64
	syncs    []int64
	findings []int64
}

// now is what the ORM's timestamps look like.
func now() string { return time.Now().UTC().Format("2006-01-02 15:04:05") }

func pick(random *rand.Rand, ids []int64, otherwise int64) int64 {
	if len(ids) == 0 {
		return otherwise
	}
	return ids[random.IntN(len(ids))]
}

// write does one thing that the application does.
func (a *application) write(ctx context.Context) error {
	a.n++
	unique := fmt.Sprintf("%d-%d", a.worker, a.n)
	tenant := 10 + 10*a.random.IntN(3) // 30 has no workspace
	workspace := []int{1, 2, 1}[(tenant-10)/10]
	run := pick(a.random, a.runs, 100)
	sync := pick(a.random, a.syncs, 1)
	var id int64
	began := time.Now()
	defer func() { a.slowest = max(a.slowest, time.Since(began)) }()
	insert := func(ids *[]int64, query string, args ...any) error {
		if err := a.conn.QueryRow(ctx, query, args...).Scan(&id); err != nil {
			return err
		}
		*ids = append(*ids, id)
		return nil
	}
	exec := func(query string, args ...any) error { _, err := a.conn.Exec(ctx, query, args...); return err }
	switch a.random.IntN(14) {
	case 0, 1, 2:
		return insert(&a.runs, `insert into "operation_runs" ("workspace_id", "tenant_id", "initiator_name", "type", "status", "outcome", "run_identity_hash", "summary_counts", "failure_summary", "context", "updated_at", "created_at")
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11) returning "id"`, workspace, tenant, "Worker",
			[]string{"inventory.sync", "backup_schedule.run_now", "unheard.of", " Policy.Sync "}[a.random.IntN(4)], "queued", "pending", "w"+unique, "[]", "[]", "[]", now())
	case 3: // without a tenant the application's index lets duplicates pass
		return insert(&a.runs, `insert into "operation_runs" ("workspace_id", "type", "status", "outcome", "run_identity_hash", "updated_at", "created_at") values (1, 'policy.sync', 'running', 'pending', 'many', $1, $1) returning "id"`, now())
	case 4:
		return exec(`update "operation_runs" set "status" = 'completed', "outcome" = 'failed', "failure_summary" = $2, "completed_at" = $3, "updated_at" = $3 where "id" = $1`,
			run, `[{"code":"x","message":"\u0000 bad"}]`, now())
	case 5:
		return exec(`update "operation_runs" set "context" = $2, "updated_at" = $3 where "id" = $1`, run, `{"step": 1}`, now())
	case 6:
		return insert(&a.syncs, `insert into "inventory_sync_runs" ("tenant_id", "selection_hash", "status", "had_errors", "updated_at", "created_at") values ($1, $2, 'running', false, $3, $3) returning "id"`, tenant, unique, now())
	case 7: // the bridge comes later
		return exec(`update "inventory_sync_runs" set "operation_run_id" = $2, "status" = 'success', "finished_at" = $3, "updated_at" = $3 where "id" = $1`, sync, run, now())
	case 8, 9:
		return insert(&a.findings, `insert into "findings" ("tenant_id", "finding_type", "scope_key", "baseline_run_id", "current_run_id", "fingerprint", "evidence_jsonb", "updated_at", "created_at")
			values ($1, 'drift', 's', $2, $3, $4, '{}', $5, $5) returning "id"`, tenant, sync, pick(a.random, a.syncs, 5), "fp"+unique, now())
	case 10:
		return exec(`update "findings" set "current_run_id" = $2, "status" = 'acknowledged', "updated_at" = $3 where "id" = $1`, pick(a.random, a.findings, 1), sync, now())
	case 11:
		if a.random.IntN(2) == 0 {
			return exec(`insert into "inventory_items" ("tenant_id", "policy_type", "external_id", "last_seen_run_id", "last_seen_operation_run_id", "updated_at", "created_at")
				values ($1, 'p', $2, $3, (select "id" from "operation_runs" where "id" = $4 for key share), $5, $5) on conflict ("tenant_id", "policy_type", "external_id")
				do update set "last_seen_run_id" = "excluded"."last_seen_run_id", "last_seen_operation_run_id" = "excluded"."last_seen_operation_run_id", "updated_at" = "excluded"."updated_at"`,
				tenant, fmt.Sprintf("item%d", a.random.IntN(50)), sync, run, now())
		}
		return exec(`insert into "inventory_items" ("tenant_id", "policy_type", "external_id", "meta_jsonb", "last_seen_at", "last_seen_run_id", "updated_at", "created_at") values ($1, 'p', $2, '{}', now(), $3, $4, $4)
			on conflict ("tenant_id", "policy_type", "external_id") do update set "last_seen_run_id" = "excluded"."last_seen_run_id", "last_seen_at" = "excluded"."last_seen_at", "updated_at" = "excluded"."updated_at"`,
			tenant, fmt.Sprintf("item%d", a.random.IntN(50)), sync, now())
	case 12:
		return exec(`insert into "backup_schedule_runs" ("backup_schedule_id", "tenant_id", "scheduled_for", "status", "operation_run_id", "updated_at", "created_at") values ($1, 10, $2, 'running', $3, $4, $4)`,
			12+a.random.IntN(2), time.Unix(int64(a.worker)*1e7+int64(a.n), 0).UTC().Format(time.DateTime), run, now())
	default:
		switch a.random.IntN(4) {
		case 0:
			return exec(`update "tenants" set "workspace_id" = $1, "updated_at" = $2 where "id" = 20`, 1+a.random.IntN(2), now())
		case 1:
			return exec(`delete from "findings" where "id" = $1`, pick(a.random, a.findings, -1))
		case 2:
			return exec(`delete from "operation_runs" where "id" = $1`, pick(a.random, a.runs, -1))
		default:
			return exec(`update "inventory_items" set "last_seen_operation_run_id" = (select "id" from "operation_runs" where "id" = $1) where "id" = 1`, run)
		}
	}
}

func TestApplicationWorksOnUntilContract(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	var mutex sync.Mutex
	statements := 0
	for worker := range 4 {
		a := &application{conn: connectSimply(t, address), random: rand.New(rand.NewPCG(7, uint64(worker))), worker: worker}
		if _, err := a.conn.Exec(ctx, "SET timezone = 'Europe/Berlin'"); err != nil {
			t.Fatal(err)
		}
		working.Go(func() {
			for ctx.Err() == nil {
				if err := a.write(context.WithoutCancel(ctx)); err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("worker %d: %v", worker, err)
					return
				}
			}
			mutex.Lock()
			defer mutex.Unlock()
			statements += a.n
			t.Logf("worker %d: %d statements, the slowest took %s", worker, a.n, a.slowest)
		})
	}
	t.Cleanup(func() { // also if a step fails, before the connections are closed
		stop()
		working.Wait()
	})
	throughBackfill(t, address)
	preparing := open(t, address, Options{PrepareOnly: true})
	must(t, preparing.Contract)
	preparing.Close()
	stop()
	working.Wait()
	if statements < 100 {
		t.Errorf("the application has sent %d statements only", statements)
	}
	// Nobody looks again in between: the transaction itself has to catch up.
	r := open(t, address, Options{})
	report := &ContractReport{}
	if err := r.swap(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	if report.CaughtUp == 0 {
		t.Error("nothing was left to catch up with")
	}
	if err := r.finish(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rows caught up, %d hashes derived", report.CaughtUp, report.Duplicates)
	verified := must(t, r.Verify)
	for _, d := range verified.Differences {
		t.Error(d)
	}
	if verified.Rows["findings"] == 0 || verified.Rows["operation_runs"] == 0 {
		t.Errorf("compared: %v", verified.Rows)
	}
}

// Catching up repairs what a trigger gets wrong, so that here nobody may catch up but with what an
// item refers to, which no trigger decides.
func TestTriggersAloneKeepRowsRight(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	throughBackfill(t, address)
	a := connectSimply(t, address)
	for _, statement := range []string{
		"SET timezone = 'America/Caracas'",
		`insert into "operation_runs" ("id", "workspace_id", "tenant_id", "type", "run_identity_hash", "failure_summary", "context", "started_at", "updated_at", "created_at")
			values (5000, 1, 10, ' Backup_Schedule.Run_Now', 'new', '["\u0000"]', '{"a": 1}', '2024-07-01 12:00:00.5', '2024-07-01 12:00:00', '2024-07-01 12:00:00')`,
		`insert into "inventory_sync_runs" ("id", "tenant_id", "selection_hash", "status", "operation_run_id") values (5000, 10, 's', 'success', 5000)`,
		`insert into "findings" ("id", "tenant_id", "finding_type", "fingerprint", "baseline_run_id", "current_run_id") values (5000, 10, 'drift', 'new', 5000, 4), (5001, 30, 'drift', 'new', 5000, null)`,
		`update "findings" set "current_run_id" = 5000 where "id" in (1, 5)`,
		`insert into "inventory_items" ("id", "tenant_id", "policy_type", "external_id", "last_seen_run_id") values (5000, 10, 'p', 'new', 5000), (5001, 20, 'p', 'new', 5000)`,
		`update "inventory_items" set "last_seen_run_id" = 5000 where "id" in (1, 2, 6, 9)`,
		`update "inventory_items" set "last_seen_run_id" = 5, "last_seen_operation_run_id" = 5000 where "id" in (7, 10)`,
		`insert into "backup_schedules" ("id", "tenant_id", "name", "frequency", "time_of_day", "policy_types") values (5000, 30, 'new', 'daily', '01:00', '[]')`,
		`update "operation_runs" set "status" = 'completed', "outcome" = 'succeeded', "completed_at" = '2024-07-01 13:00:00', "updated_at" = '2024-07-01 13:00:00' where "id" in (5000, 100)`,
		`update "operation_runs" set "context" = '{"again": true}' where "id" = 203`,
		"DELETE FROM runledger_removal.dirty WHERE kind <> 'item'",
	} {
		if _, err := a.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", summarise(statement), err)
		}
	}
	verified := must(t, open(t, address, Options{}).Verify)
	for _, d := range verified.Differences {
		t.Error(d)
	}
	if verified.Rows["findings"] != 11 {
		t.Errorf("compared: %v", verified.Rows)
	}
	if items := verified.Pending["inventory_items"]; items == 0 || len(verified.Pending) > 1 {
		t.Errorf("to be looked at again: %v, want items alone", verified.Pending)
	}
	step(t, address, (*Removal).Backfill)
	holds(t, address)
}

// connectSimply is a connection that sends values within the statement's text, as the ORM's does.
func connectSimply(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
