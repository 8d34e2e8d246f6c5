package client

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
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
		return pageOf[Workspace](c.ListWorkspaces(ctx, &asked))
	})
}

// AllTenants reads the tenants of a workspace.
func (c *ClientWithResponses) AllTenants(
	ctx context.Context, workspaceID int64, params ListTenantsParams,
) iter.Seq2[Tenant, error] {
	params.IfNoneMatch = nil
	return rows(params.Cursor, func(cursor *Cursor) (page[Tenant], error) {
		asked := params
		asked.Cursor = cursor
		return pageOf[Tenant](c.ListTenants(ctx, workspaceID, &asked))
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
		return pageOf[Run](c.ListOperationRuns(ctx, workspaceID, &asked))
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
		return pageOf[Run](c.ListBackupScheduleRuns(ctx, workspaceID, scheduleID, &asked))
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
		return pageOf[Finding](c.ListFindings(ctx, workspaceID, &asked))
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
		return pageOf[InventoryItem](c.ListInventoryItems(ctx, workspaceID, &asked))
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
		return pageOf[BackupSchedule](c.ListBackupSchedules(ctx, workspaceID, &asked))
	})
}

// page is one page of a list.
type page[Row any] struct {
	Data       []Row   `json:"data"`
	NextCursor *Cursor `json:"next_cursor"` // nil on the last
}

// pageOf reads the page that a list answered.
func pageOf[Row any](response *http.Response, err error) (page[Row], error) {
	var got page[Row]
	if err != nil {
		return got, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return got, err
	}
	if response.StatusCode != http.StatusOK {
		return got, errorOf(response, body)
	}
	err = json.Unmarshal(body, &got)
	return got, err
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
			for _, row := range got.Data {
				if !yield(row, nil) {
					return
				}
			}
			if got.NextCursor == nil {
				return
			}
			at = got.NextCursor
		}
	}
}
