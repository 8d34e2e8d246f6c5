package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const (
	writers   = 8   // connections that write at once
	batchSize = 100 // starts in a batch

	// The bars: shares of the rate of what a way is compared with.
	singleBar      = 0.75
	batchBar       = 0.5
	batchGainBar   = 5
	subscribersBar = 0.9
)

// writeWorld is where runs are started: a copy of the small database, a server on it and a member
// of a workspace that may record runs.
type writeWorld struct {
	*bench

	url         string
	server      *contender
	workspaceID int64
	userID      int64
}

// measureWrites compares starts over HTTP with what PostgreSQL takes for the same statement, with
// plain INSERTs, and with and without subscribers of the feed. Each start leaves its event.
func measureWrites(ctx context.Context, b *bench) (t *table, err error) {
	w, err := b.newWriteWorld(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	ways, err := w.ways(ctx)
	if err != nil {
		return nil, err
	}
	turns := make([]turn, 0, len(ways))
	for _, way := range ways {
		turns = append(turns, way.turn)
	}
	all, err := byTurns(ctx, b.rounds, turns...)
	if err != nil {
		return nil, err
	}
	t = &table{
		caption: fmt.Sprintf("Starts of runs over %d connections: runs a second and CPU seconds per 1,000 runs (server + PostgreSQL), "+
			"medians of %d rounds by turns. A share is that of the rate, the median of the rounds' own.", writers, b.rounds),
		keys: 1,
		head: append([]string{"way", "runs/s", "CPU"}, shareHeads...),
	}
	byName := map[string]rounds{}
	for i, way := range ways {
		byName[way.name] = all[i]
	}
	for _, way := range ways {
		m := byName[way.name].median()
		t.add(append([]string{way.name, perSecond(m.rate), m.String()}, way.shares(byName)...)...)
	}
	t.notes = append(t.notes, keepingNote(byName),
		"The database does not wait for the disk here (`fsync` is off), which is the hardest case for all that is not the database.")
	return t, nil
}

// keepingNote says what of a plain INSERT is for indexes and foreign keys.
func keepingNote(by map[string]rounds) string {
	whole := by[plainMany]
	foreign, key := by[foreignMany].costRatio(whole), by[keyMany].costRatio(whole)
	return fmt.Sprintf("Of PostgreSQL's CPU time for a plain INSERT of %d runs, the indexes beside the primary key take %.0f %% and the foreign keys %.0f %%.",
		batchSize, 100*(1-foreign), 100*(foreign-key))
}

// newWriteWorld makes the copy and starts the server.
func (b *bench) newWriteWorld(ctx context.Context) (*writeWorld, error) {
	const name = "writes"
	w := &writeWorld{bench: b, url: b.databaseURL(name)}
	for _, statement := range []string{"DROP DATABASE IF EXISTS " + name, "CREATE DATABASE " + name + " TEMPLATE " + databaseName(small)} {
		if err := b.administer(ctx, statement); err != nil {
			return nil, err
		}
	}
	conn, err := pgx.Connect(ctx, w.url)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var subject string
	err = conn.QueryRow(ctx, `SELECT m.workspace_id, u.id, u.subject
		FROM workspace_memberships AS m JOIN users AS u ON u.id = m.user_id JOIN workspaces AS w ON w.id = m.workspace_id
		WHERE m.role <> 'readonly' AND w.archived_at IS NULL AND u.subject IS NOT NULL
		ORDER BY m.workspace_id, u.id LIMIT 1`).Scan(&w.workspaceID, &w.userID, &subject)
	if err != nil {
		return nil, err
	}
	if err := w.makeCopies(ctx, conn); err != nil {
		return nil, err
	}
	w.server, err = b.startServe(ctx, w.url, subject)
	return w, err
}

// Copies of the table of runs, for what its indexes and its foreign keys take.
const (
	keyOnly     = "runs_with_primary_key"
	withForeign = "runs_with_foreign_keys"
)

// makeCopies makes empty copies of the table of runs, with its checks and its primary key and no other
// index; one has its foreign keys as well. They go with the database.
func (w *writeWorld) makeCopies(ctx context.Context, conn *pgx.Conn) error {
	for _, name := range []string{keyOnly, withForeign} {
		if _, err := conn.Exec(ctx, "CREATE TABLE "+name+" (LIKE operation_runs INCLUDING DEFAULTS INCLUDING CONSTRAINTS, PRIMARY KEY (workspace_id, id))"); err != nil {
			return err
		}
	}
	var foreign string
	if err := conn.QueryRow(ctx, `SELECT string_agg('ADD ' || pg_get_constraintdef(oid), ', ') FROM pg_constraint
		WHERE conrelid = 'operation_runs'::regclass AND contype = 'f'`).Scan(&foreign); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, "ALTER TABLE "+withForeign+" "+foreign)
	return err
}

func (w *writeWorld) close() error {
	w.server.stop()
	return w.administer(context.Background(), "DROP DATABASE writes WITH (FORCE)")
}

// administer runs a statement in the server's own database.
func (b *bench) administer(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, b.databaseURL("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}
