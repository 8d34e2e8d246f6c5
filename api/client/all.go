package client

import (
	"context"
	"iter"
)

// Each All method reads a list to its end, page by page, from params.Cursor or the beginning. It
// asks for a page when the one before is used up, and ends with the first error, an [*Error] if
// the service gave one. A sequence can be ranged over again, and asks again.

// AllWorkspaces reads the caller's workspaces.
func (c *ClientWithResponses) AllWorkspaces(ctx context.Context, params ListWorkspacesParams) iter.Seq2[Workspace, error] {
	params.IfNoneMatch = nil // a page that has not changed would have no rows
	return rows(params.Cursor, func(cursor *Cursor) (page[Workspace], error) {
		asked := params
		asked.Cursor = cursor
		answer, err := c.ListWorkspacesWithResponse(ctx, &asked)
		if err != nil {
			return page[Workspace]{}, err
		}
		if answer.JSON200 == nil {
			return page[Workspace]{}, errorOf(answer.HTTPResponse, answer.Body)
		}
		return page[Workspace]{answer.JSON200.Data, answer.JSON200.NextCursor}, nil
	})
}

// AllOperationRuns reads the runs of a workspace.
func (c *ClientWithResponses) AllOperationRuns(
	ctx context.Context, workspaceID int64, params ListOperationRunsParams,
) iter.Seq2[Run, error] {
	params.IfNoneMatch = nil
	return rows(params.Cursor, func(cursor *Cursor) (page[Run], error) {
		asked := params
		asked.Cursor = cursor
		answer, err := c.ListOperationRunsWithResponse(ctx, workspaceID, &asked)
		if err != nil {
			return page[Run]{}, err
		}
		if answer.JSON200 == nil {
			return page[Run]{}, errorOf(answer.HTTPResponse, answer.Body)
		}
		return page[Run]{answer.JSON200.Data, answer.JSON200.NextCursor}, nil
	})
}

// AllBackupScheduleRuns reads the history of a backup schedule.
func (c *ClientWithResponses) AllBackupScheduleRuns(
	ctx context.Context, workspaceID, scheduleID int64, params ListBackupScheduleRunsParams,
) iter.Seq2[Run, error] {
	params.IfNoneMatch = nil
	return rows(params.Cursor, func(cursor *Cursor) (page[Run], error) {
		asked := params
		asked.Cursor = cursor
		answer, err := c.ListBackupScheduleRunsWithResponse(ctx, workspaceID, scheduleID, &asked)
		if err != nil {
			return page[Run]{}, err
		}
		if answer.JSON200 == nil {
			return page[Run]{}, errorOf(answer.HTTPResponse, answer.Body)
		}
		return page[Run]{answer.JSON200.Data, answer.JSON200.NextCursor}, nil
	})
}

// AllFindings reads the findings of a workspace.
func (c *ClientWithResponses) AllFindings(
	ctx context.Context, workspaceID int64, params ListFindingsParams,
) iter.Seq2[Finding, error] {
	params.IfNoneMatch = nil
	return rows(params.Cursor, func(cursor *Cursor) (page[Finding], error) {
		asked := params
		asked.Cursor = cursor
		answer, err := c.ListFindingsWithResponse(ctx, workspaceID, &asked)
		if err != nil {
			return page[Finding]{}, err
		}
		if answer.JSON200 == nil {
			return page[Finding]{}, errorOf(answer.HTTPResponse, answer.Body)
		}
		return page[Finding]{answer.JSON200.Data, answer.JSON200.NextCursor}, nil
	})
}

// AllInventoryItems reads the inventory items of a workspace.
func (c *ClientWithResponses) AllInventoryItems(
	ctx context.Context, workspaceID int64, params ListInventoryItemsParams,
) iter.Seq2[InventoryItem, error] {
	params.IfNoneMatch = nil
	return rows(params.Cursor, func(cursor *Cursor) (page[InventoryItem], error) {
		asked := params
		asked.Cursor = cursor
		answer, err := c.ListInventoryItemsWithResponse(ctx, workspaceID, &asked)
		if err != nil {
			return page[InventoryItem]{}, err
		}
		if answer.JSON200 == nil {
			return page[InventoryItem]{}, errorOf(answer.HTTPResponse, answer.Body)
		}
		return page[InventoryItem]{answer.JSON200.Data, answer.JSON200.NextCursor}, nil
	})
}

// AllBackupSchedules reads the backup schedules of a workspace.
func (c *ClientWithResponses) AllBackupSchedules(
	ctx context.Context, workspaceID int64, params ListBackupSchedulesParams,
) iter.Seq2[BackupSchedule, error] {
	params.IfNoneMatch = nil
	return rows(params.Cursor, func(cursor *Cursor) (page[BackupSchedule], error) {
		asked := params
		asked.Cursor = cursor
		answer, err := c.ListBackupSchedulesWithResponse(ctx, workspaceID, &asked)
		if err != nil {
			return page[BackupSchedule]{}, err
		}
		if answer.JSON200 == nil {
			return page[BackupSchedule]{}, errorOf(answer.HTTPResponse, answer.Body)
		}
		return page[BackupSchedule]{answer.JSON200.Data, answer.JSON200.NextCursor}, nil
	})
}

// page is one page of a list.
type page[Row any] struct {
	data []Row
	next *string // nil on the last
}

// rows is every row of a list from cursor on.
func rows[Row any](cursor *Cursor, read func(cursor *Cursor) (page[Row], error)) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for at := cursor; ; {
			got, err := read(at)
			if err != nil {
				var none Row
				yield(none, err)
				return
			}
			for _, row := range got.data {
				if !yield(row, nil) {
					return
				}
			}
			if got.next == nil {
				return
			}
			at = got.next
		}
	}
}
