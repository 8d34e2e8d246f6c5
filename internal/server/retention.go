package server

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/workspace"
)

// getBackupScheduleRetention tells which backups of a schedule its retention keeps and which it
// would let go. It walks the completed runs of the schedule, the newest first, a page at a time;
// each run of a page is in one of three lists.
func (s *Server) getBackupScheduleRetention(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	schedule, err := s.backupSchedule(r, ws)
	if err != nil {
		return err
	}
	pg, err := s.pageOf(r, ws.ID(), parseParams(r), afterAll)
	if err != nil {
		return err
	}
	keepLast := max(schedule.RetentionKeepLast, 1) // no schedule lets go of its last backup
	kept, err := s.lastKeptBackup(r, ws, schedule.ID, keepLast)
	if err != nil {
		return err
	}
	runs, err := s.queries.ListCompletedBackups(r.Context(), s.db, dbsqlc.ListCompletedBackupsParams{
		WorkspaceID: ws.ID(), ScheduleID: strconv.FormatInt(schedule.ID, 10),
		Position: pg.after.timestamptz(), PositionID: pg.after.id, PageSize: pg.rows(),
	})
	if err != nil {
		return err
	}
	next := ""
	if len(runs) > pg.limit {
		runs = runs[:pg.limit]
		last := &runs[pg.limit-1]
		next = s.cursors.seal(positionAt(last.CreatedAt, last.ID), pg.binding)
		w.Header().Set("Link", "<"+pg.next(r, next)+`>; rel="next"`)
	}
	return answerJSON(w, r, func(b []byte) []byte {
		b = appendInt(append(b, '{'), "backup_schedule_id", schedule.ID)
		b = appendInt(b, "keep_last", int64(keepLast))
		for _, decision := range []string{"keep", "release", "without_backup"} {
			b = append(appendKey(b, decision), '[')
			separator := ""
			for i := range runs {
				if retentionOf(&runs[i], kept) == decision {
					b = appendSummary(append(b, separator...), &runs[i])
					separator = ","
				}
			}
			b = append(b, ']')
		}
		if next == "" {
			return append(appendKey(b, "next_cursor"), "null}"...)
		}
		return append(appendText(b, "next_cursor", next), '}')
	})
}

// lastKeptBackup is the position of the oldest backup that a schedule's retention keeps. Where
// there are no more than it keeps, all are before it.
func (s *Server) lastKeptBackup(r *http.Request, ws workspace.Scope, scheduleID int64, keepLast int32) (position, error) {
	kept, err := s.queries.FindKeptBackupPosition(r.Context(), s.db, dbsqlc.FindKeptBackupPositionParams{
		WorkspaceID: ws.ID(), ScheduleID: strconv.FormatInt(scheduleID, 10), Newer: keepLast - 1,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return beforeAll, nil
	}
	return positionAt(kept.Position, kept.ID), err
}

// retentionOf is the list that a completed run belongs to. One that made no backup neither takes
// the place of one that did, nor has anything to let go. A recalled one is like it: nobody can rely
// on its backup, but it is not the retention's to let go, since it may be all there is, and the mark
// of a run that names a recalled one may go again.
func retentionOf(run *dbsqlc.ListCompletedBackupsRow, lastKept position) string {
	made := run.Outcome == string(ledger.OutcomeSucceeded) || run.Outcome == string(ledger.OutcomePartiallySucceeded)
	at := positionAt(run.CreatedAt, run.ID)
	switch {
	case !made || run.Recalled:
		return "without_backup"
	case at.compare(lastKept) >= 0:
		return "keep"
	default:
		return "release"
	}
}

// appendSummary appends the summary of a run.
func appendSummary(b []byte, run *dbsqlc.ListCompletedBackupsRow) []byte {
	b = appendInt(append(b, '{'), "id", run.ID)
	b = appendText(b, "type", run.Type)
	b = appendText(b, "status", run.Status)
	b = appendText(b, "outcome", run.Outcome)
	b = appendTime(b, "started_at", run.StartedAt)
	b = appendTime(b, "completed_at", run.CompletedAt)
	return append(b, '}')
}
