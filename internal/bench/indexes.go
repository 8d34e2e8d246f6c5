package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// serves says which requests each index of operation_runs is for.
var serves = map[string]string{
	"operation_runs_pkey":                             "a run by its id; every reference to a run",
	"operation_runs_active_identity_idx":              "one active run of an identity: the start of a run",
	"operation_runs_created_at_idx":                   "the list without filters; `created_…`; what other ranges imply; `stalled=false`",
	"operation_runs_type_idx":                         "`type`, alone, and with `status` or `user_id`",
	"operation_runs_type_outcome_idx":                 "`type` with `outcome`",
	"operation_runs_outcome_idx":                      "`outcome`, alone and with `user_id`",
	"operation_runs_status_idx":                       "`status`, alone, and with `type`, `tenant_id` or `user_id`",
	"operation_runs_tenant_id_idx":                    "`tenant_id`, alone, and with `outcome` or `user_id`",
	"operation_runs_tenant_id_type_idx":               "`tenant_id` with `type`, and with `outcome` or `user_id` besides",
	"operation_runs_user_id_idx":                      "`user_id`, alone, and with `type`, `outcome` or `tenant_id`",
	"operation_runs_identity_idx":                     "`run_identity_hash`, alone, and with `outcome`, `type`, `status`, `tenant_id` or `user_id`",
	"operation_runs_stalled_at_idx":                   "`stalled=true`; the sweeper",
	"operation_runs_backup_schedule_id_idx":           "`backup_schedule_id`, alone and with anything: a schedule's history; its retention",
	"operation_runs_failure_code_idx":                 "`failure_code`, of the first failure of a run, alone and with anything but `backup_schedule_id` or `stalled=true`",
	"operation_runs_later_failures_idx":               "`failure_code`, of any other failure, likewise",
	"operation_runs_untimely_execution_idx":           "`started_…` and `completed_…`: the runs that were slow to start or complete",
	"operation_runs_untimely_execution_by_update_idx": "the same with `order=updated_at`",
	"operation_runs_untimely_update_idx":              "`updated_…`: the runs that were updated long after their creation",
	"operation_runs_untimely_update_by_update_idx":    "the same, and every other filter, with `order=updated_at`",
	"operation_runs_updated_at_idx":                   "`order=updated_at` without filters, and with `updated_…`",
	"operation_runs_retry_of_id_idx":                  "the retention, which clears references to the runs that it deletes",
	"operation_runs_recalled_id_idx":                  "a recall: the recalled runs, by what other rows name them",
	"operation_runs_recalled_identity_idx":            "a recall: the runs that name a recalled one, by the run that replaces it",
	"operation_runs_context_baseline_idx":             "a recall: the runs whose context names a baseline run",
	"operation_runs_context_current_idx":              "the same of a current run",
	"operation_runs_context_run_idx":                  "the same of another run",
	"operation_runs_stats_idx":                        "`operation-runs/stats`, out of the index alone",
}

// measureIndexes measures what each index of operation_runs takes: on disk, and of the CPU time of
// an INSERT of many runs in one statement, by turns with it and without it.
func measureIndexes(ctx context.Context, b *bench) (*table, error) {
	const rows = 20_000
	rounds := min(5, b.rounds)
	if b.quick {
		rounds = 1
	}
	drop, scratch, err := b.scratch(ctx)
	if err != nil {
		return nil, err
	}
	defer drop()
	conn, err := pgx.Connect(ctx, scratch)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	in := &inserter{conn: conn}
	if err := in.stage(ctx, rows); err != nil {
		return nil, err
	}
	indexes, err := in.indexes(ctx)
	if err != nil {
		return nil, err
	}
	with := make([][]time.Duration, len(indexes))
	saved := make([][]time.Duration, len(indexes))
	for range rounds {
		for i, index := range indexes {
			whole, err := in.insert(ctx, "")
			if err != nil {
				return nil, err
			}
			with[i] = append(with[i], whole)
			if index.constraint {
				continue
			}
			less, err := in.insert(ctx, index.name)
			if err != nil {
				return nil, err
			}
			saved[i] = append(saved[i], whole-less)
		}
	}
	t := &table{
		caption: fmt.Sprintf("The indexes of operation_runs at %d runs: their size, and what each adds to the CPU time of PostgreSQL for an INSERT of %d runs in one statement, "+
			"the median of %d pairs of such an INSERT with it and without it. A report on a run writes to the indexes as an INSERT does.", b.middle, rows, rounds),
		keys: 1,
		head: []string{"index", "serves", "size", "µs a run", "of the INSERT"},
	}
	sum := time.Duration(0)
	var all []time.Duration
	for i, index := range indexes {
		whole := median(with[i])
		all = append(all, whole)
		costs, share := "", ""
		if !index.constraint {
			d := median(saved[i])
			sum += d
			costs = fmt.Sprintf("%.2f", float64(d.Nanoseconds())/rows/1000)
			share = fmt.Sprintf("%.1f %%", 100*float64(d)/float64(whole))
		}
		t.add("`"+strings.TrimPrefix(index.name, "operation_runs_")+"`", serves[index.name], mebibytes(index.size), costs, share)
	}
	whole := median(all)
	t.notes = append(t.notes, fmt.Sprintf("The whole INSERT took %.1f µs a run; the indexes above that can be dropped are %.0f %% of that. "+
		"The primary key cannot, as other tables refer to it.", float64(whole.Nanoseconds())/rows/1000, 100*float64(sum)/float64(whole)))
	return t, nil
}

// scratch is a copy of the middle database that may be written to, until drop is called.
func (b *bench) scratch(ctx context.Context) (drop func(), databaseURL string, err error) {
	const name = "scratch"
	template, err := url.Parse(b.url(b.middle))
	if err != nil {
		return nil, "", err
	}
	original := strings.TrimPrefix(template.Path, "/")
	admin, err := pgx.Connect(ctx, template.ResolveReference(&url.URL{Path: "/postgres", RawQuery: template.RawQuery}).String())
	if err != nil {
		return nil, "", err
	}
	drop = func() {
		_, _ = admin.Exec(context.Background(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
		_ = admin.Close(context.Background())
	}
	for _, statement := range []string{
		"DROP DATABASE IF EXISTS " + name + " WITH (FORCE)", "CREATE DATABASE " + name + " TEMPLATE " + original,
	} {
		if _, err := admin.Exec(ctx, statement); err != nil {
			drop()
			return nil, "", err
		}
	}
	return drop, template.ResolveReference(&url.URL{Path: "/" + name, RawQuery: template.RawQuery}).String(), nil
}

// inserter inserts the same runs again and again, and takes them back.
type inserter struct {
	conn    *pgx.Conn
	columns string
}

// index is an index of operation_runs.
type index struct {
	name       string
	size       int64
	constraint bool
}

func (in *inserter) indexes(ctx context.Context) ([]index, error) {
	rows, err := in.conn.Query(ctx, `
		SELECT c.relname, pg_relation_size(c.oid), EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = c.oid)
		FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
		WHERE i.indrelid = 'operation_runs'::regclass
		ORDER BY c.oid`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (index, error) {
		var i index
		return i, row.Scan(&i.name, &i.size, &i.constraint)
	})
}

// stage lays completed runs of the largest workspace out, as if they had been created just now.
func (in *inserter) stage(ctx context.Context, rows int) error {
	if err := in.conn.QueryRow(ctx, `
		SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
		WHERE attrelid = 'operation_runs'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''`).Scan(&in.columns); err != nil {
		return err
	}
	for _, statement := range []string{
		`CREATE UNLOGGED TABLE staged AS SELECT * FROM operation_runs
			WHERE status = 'completed' AND workspace_id = (SELECT workspace_id FROM operation_runs GROUP BY 1 ORDER BY count(*) DESC LIMIT 1)
			  AND isfinite(created_at)
			ORDER BY created_at DESC LIMIT ` + strconv.Itoa(rows),
		`UPDATE staged SET id = nextval('operation_runs_id_seq'),
			run_identity_hash = encode(sha256(convert_to(id::text, 'UTF8')), 'hex'),
			created_at = created_at + '1 year', started_at = started_at + '1 year',
			completed_at = completed_at + '1 year', updated_at = updated_at + '1 year'`,
		"VACUUM ANALYZE staged",
	} {
		if _, err := in.conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// insert inserts the runs, without an index if one is named, and returns the CPU time of that.
// Then everything is as it was.
func (in *inserter) insert(ctx context.Context, without string) (time.Duration, error) {
	tx, err := in.conn.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if without != "" {
		if _, err := tx.Exec(ctx, "DROP INDEX "+without); err != nil {
			return 0, err
		}
	}
	before, err := scheduled(int(in.conn.PgConn().PID()))
	if err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, fmt.Sprintf("INSERT INTO operation_runs (%[1]s) SELECT %[1]s FROM staged", in.columns)); err != nil {
		return 0, err
	}
	after, err := scheduled(int(in.conn.PgConn().PID()))
	return after - before, err
}

// scheduled is the time that a process of one thread has run, to the nanosecond.
func scheduled(pid int) (time.Duration, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/schedstat")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	n, err := strconv.ParseInt(first, 10, 64)
	return time.Duration(n), err
}
