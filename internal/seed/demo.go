package seed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/db"
)

// demoSlug is the slug of the demonstration's workspace, and demoPeople are the subjects of its own
// people, beside those who come with any seeded workspace.
const demoSlug = "demo"

var demoPeople = DemoData{
	Owner:    "demo-owner",
	Operator: "demo-operator",
	Readonly: "demo-readonly",
	Stranger: "demo-stranger",
}

// DemoData names what there is to show.
type DemoData struct {
	WorkspaceID int64 // of the workspace with the slug demo
	ScheduleID  int64 // of a daily backup schedule in it with months of history

	// The subjects of three members of the workspace, by role, and of a user who is a member of nothing.
	Owner, Operator, Readonly, Stranger string
}

// Demo makes sure that the database behind conn, which must have the current schema, holds the
// demonstration's data: three workspaces with some 2,000 runs up to the present hour, and backup
// schedules to which something happened. Where it is already there, nothing is written. Several may
// call it at once: one writes, the others wait and find it.
func Demo(ctx context.Context, conn *pgx.Conn) (DemoData, error) {
	o := Options{Workspaces: 3, Runs: 2000, Seed: 1}
	if err := o.check(); err != nil {
		return DemoData{}, fmt.Errorf("demonstration: %w", err)
	}
	w, err := newWorld(o)
	if err != nil {
		return DemoData{}, fmt.Errorf("demonstration: %w", err)
	}
	var found DemoData
	wrote := false
	err = transact(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", db.DemoLock); err != nil {
			return fmt.Errorf("wait for others: %w", err)
		}
		var err error
		found, err = findDemo(ctx, tx)
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		wrote = true
		found, err = writeDemo(ctx, tx, w)
		return err
	})
	if err != nil {
		return DemoData{}, fmt.Errorf("demonstration: %w", err)
	}
	if wrote {
		if err := vacuum(ctx, conn); err != nil {
			return found, fmt.Errorf("demonstration: the data is written, but: %w", err)
		}
	}
	return found, nil
}

// findDemo looks for the demonstration's workspace and its oldest schedule, the one with the longest
// history. Its error is pgx.ErrNoRows where there is none.
func findDemo(ctx context.Context, tx pgx.Tx) (DemoData, error) {
	found := demoPeople
	err := tx.QueryRow(ctx, `
		SELECT w.id, s.id
		FROM workspaces AS w
		JOIN workspace_memberships AS m ON m.workspace_id = w.id
		JOIN users AS u ON u.id = m.user_id AND u.subject = $2
		JOIN backup_schedules AS s ON s.workspace_id = w.id
		WHERE w.slug = $1
		ORDER BY s.id
		LIMIT 1`, demoSlug, demoPeople.Owner).Scan(&found.WorkspaceID, &found.ScheduleID)
	if err != nil {
		return DemoData{}, fmt.Errorf("look for the data: %w", err)
	}
	return found, nil
}

// writeDemo loads the world and takes the demonstration's people into its first workspaces.
func writeDemo(ctx context.Context, tx pgx.Tx, w *world) (DemoData, error) {
	if _, err := load(ctx, tx, w, nil); err != nil {
		return DemoData{}, err
	}
	first := w.workspaces[0]
	if _, err := tx.Exec(ctx, "UPDATE workspaces SET slug = $2 WHERE id = $1", first.id, demoSlug); err != nil {
		return DemoData{}, fmt.Errorf("name the workspace %s: %w", demoSlug, err)
	}
	if err := happen(ctx, tx, first); err != nil {
		return DemoData{}, fmt.Errorf("let things go wrong: %w", err)
	}
	for _, person := range []struct{ subject, name, role string }{
		{demoPeople.Owner, "Demo Owner", "owner"},
		{demoPeople.Operator, "Demo Operator", "operator"},
		{demoPeople.Readonly, "Demo Reader", "readonly"},
		{demoPeople.Stranger, "Demo Stranger", ""},
	} {
		var id int64
		err := tx.QueryRow(ctx, `
			INSERT INTO users (subject, name, created_at, updated_at) VALUES ($1, $2, $3, $3)
			ON CONFLICT (subject) DO UPDATE SET name = excluded.name
			RETURNING id`, person.subject, person.name, first.start.Add(time.Hour)).Scan(&id)
		if err != nil {
			return DemoData{}, fmt.Errorf("add %s: %w", person.subject, err)
		}
		if person.role == "" {
			continue
		}
		if _, err := tx.Exec(ctx, "INSERT INTO workspace_memberships (workspace_id, user_id, role) VALUES ($1, $2, $3)",
			first.id, id, person.role); err != nil {
			return DemoData{}, fmt.Errorf("make %s a member: %w", person.subject, err)
		}
	}
	data := demoPeople
	data.WorkspaceID, data.ScheduleID = first.id, first.schedules[0].id
	return data, nil
}
