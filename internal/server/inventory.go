package server

import (
	"context"
	"net/http"
	"slices"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/workspace"
)

func (s *Server) listInventoryItems(w http.ResponseWriter, r *http.Request, v *visitor) error {
	p := parseParams(r)
	f := inventoryFilter(p)
	show := p.fields(inventoryItemMembers)
	p.position(r)
	pg, err := s.pageOf(r, v.workspaceID(), p, afterAll)
	if err != nil {
		return err
	}
	return s.answerRows(w, r, v, pg, show, narrowed{filter: f, joined: []string{"inventory_items", "run"}}, func(ctx context.Context, db dbsqlc.DBTX) error {
		_, err := s.queries.ListInventoryItems(ctx, db,
			dbsqlc.ListInventoryItemsParams{WorkspaceID: v.workspaceID(), PositionID: pg.after.id, PageSize: pg.rows()})
		return err
	})
}

func (s *Server) getInventoryItem(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	id, err := rowID(r)
	if err != nil {
		return err
	}
	if err := noParams(r); err != nil {
		return err
	}
	var body []byte
	db := rawRows{DBTX: s.db, show: inventoryItemMembers, each: func(row rawRow) { body = row.append(nil) }}
	if _, err := s.queries.GetInventoryItem(r.Context(), db, dbsqlc.GetInventoryItemParams{WorkspaceID: ws.ID(), ID: id}); err != nil {
		return err
	}
	return answerBody(w, r, http.StatusOK, entityTag("", body), body)
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

// inventoryItemMembers are an inventory item, with a summary of the run that last saw it.
var inventoryItemMembers = slices.Concat(
	shown("id", "workspace_id", "tenant_id", "policy_type", "external_id", "display_name", "category", "platform", "meta",
		"last_seen_at", "last_seen_operation_run_id"),
	runSummary("last_seen_operation_run", "last_seen_operation_run_id", "run_"),
	shown("created_at", "updated_at", "recalled"),
)
