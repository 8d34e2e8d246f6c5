package server

import (
	"context"
	"net/http"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/workspace"
)

func (s *Server) listTenants(w http.ResponseWriter, r *http.Request, v *visitor) error {
	p := parseParams(r)
	var f filter
	if id, ok := p.text("external_id"); ok {
		f.and("external_id = ?", id)
	}
	show := p.fields(tenantMembers)
	p.position(r)
	pg, err := s.pageOf(r, v.workspaceID(), p, afterAll)
	if err != nil {
		return err
	}
	return s.answerRows(w, r, v, pg, show, narrowed{filter: f}, func(ctx context.Context, db dbsqlc.DBTX) error {
		_, err := s.queries.ListTenants(ctx, db,
			dbsqlc.ListTenantsParams{WorkspaceID: v.workspaceID(), PositionID: pg.after.id, PageSize: pg.rows()})
		return err
	})
}

func (s *Server) getTenant(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	id, err := rowID(r)
	if err != nil {
		return err
	}
	if err := noParams(r); err != nil {
		return err
	}
	var body []byte
	db := rawRows{DBTX: s.db, show: tenantMembers, each: func(row rawRow) { body = row.append(nil) }}
	if _, err := s.queries.GetTenant(r.Context(), db, dbsqlc.GetTenantParams{WorkspaceID: ws.ID(), ID: id}); err != nil {
		return err
	}
	return answerBody(w, r, http.StatusOK, entityTag("", body), body)
}

// tenantMembers are a tenant.
var tenantMembers = shown("id", "workspace_id", "name", "external_id", "created_at", "updated_at")
