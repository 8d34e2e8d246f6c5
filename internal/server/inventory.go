package server

import (
	"net/http"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/workspace"
)

func (s *Server) listInventoryItems(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	p := parseParams(r)
	f := inventoryFilter(p)
	pg, err := s.pageOf(r, ws, p, afterAll)
	if err != nil {
		return err
	}
	items, err := s.queries.ListInventoryItems(r.Context(), narrowed{DBTX: s.db, filter: f},
		dbsqlc.ListInventoryItemsParams{WorkspaceID: ws.ID(), PositionID: pg.after.id, PageSize: pg.rows()})
	if err != nil {
		return err
	}
	return answerPage(s, w, r, pg, items, appendInventoryItem,
		func(row *dbsqlc.ListInventoryItemsRow) position { return byID(row.InventoryItem.ID) })
}

func (s *Server) getInventoryItem(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	id, err := rowID(r)
	if err != nil {
		return err
	}
	if err := noParams(r); err != nil {
		return err
	}
	found, err := s.queries.GetInventoryItem(r.Context(), s.db, dbsqlc.GetInventoryItemParams{WorkspaceID: ws.ID(), ID: id})
	if err != nil {
		return err
	}
	row := dbsqlc.ListInventoryItemsRow(found)
	return answerJSON(w, r, func(b []byte) []byte { return appendInventoryItem(b, &row) })
}

// inventoryFilter reads the filters of a list of inventory items.
func inventoryFilter(p *params) filter {
	var f filter
	if id, ok := p.id("tenant_id"); ok {
		f.and("inventory_items.tenant_id = ?", id)
	}
	f.anyOf("inventory_items.policy_type", p.list("policy_type"))
	f.anyOf("inventory_items.category", p.list("category"))
	f.anyOf("inventory_items.platform", p.list("platform"))
	if id, ok := p.text("external_id"); ok {
		f.and("inventory_items.external_id = ?", id)
	}
	if id, ok := p.id("last_seen_operation_run_id"); ok {
		f.and("inventory_items.last_seen_operation_run_id = ?", id)
	}
	return f
}

// appendInventoryItem appends an inventory item, with a summary of the run that last saw it.
func appendInventoryItem(b []byte, row *dbsqlc.ListInventoryItemsRow) []byte {
	item := &row.InventoryItem
	b = append(b, '{')
	b = appendInt(b, "id", item.ID)
	b = appendInt(b, "workspace_id", item.WorkspaceID)
	b = appendOptionalInt(b, "tenant_id", item.TenantID)
	b = appendText(b, "policy_type", item.PolicyType)
	b = appendText(b, "external_id", item.ExternalID)
	b = appendOptionalText(b, "display_name", item.DisplayName)
	b = appendOptionalText(b, "category", item.Category)
	b = appendOptionalText(b, "platform", item.Platform)
	b = appendJSON(b, "meta", item.Meta)
	b = appendTime(b, "last_seen_at", item.LastSeenAt)
	b = appendOptionalInt(b, "last_seen_operation_run_id", item.LastSeenOperationRunID)
	b = appendRunSummary(b, "last_seen_operation_run", runSummary{
		id: item.LastSeenOperationRunID, runType: row.RunType, status: row.RunStatus,
		outcome: row.RunOutcome, startedAt: row.RunStartedAt, completedAt: row.RunCompletedAt,
	})
	b = appendTime(b, "created_at", item.CreatedAt)
	b = appendTime(b, "updated_at", item.UpdatedAt)
	b = appendBool(b, "recalled", row.Recalled)
	return append(b, '}')
}
