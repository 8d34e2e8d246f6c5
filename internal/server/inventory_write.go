package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/workspace"
)

// seenItem is an inventory item as a run saw it. What is empty, 0 or not valid was not given.
type seenItem struct {
	pointer     string // where it stands in the body
	tenantID    int64
	policyType  string
	externalID  string
	displayName string
	category    string
	platform    string
	meta        string
	lastSeenAt  pgtype.Timestamptz
}

// itemKey is what makes two inventory items of a workspace the same.
type itemKey struct {
	tenantID               int64
	policyType, externalID string
}

func (i seenItem) key() itemKey { return itemKey{i.tenantID, i.policyType, i.externalID} }

// batchInventoryItems records the items that one run has seen, answered one by one in order.
func (s *Server) batchInventoryItems(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	if err := unconditional(r); err != nil {
		return err
	}
	body, flaws, err := readBatch(r, "items")
	if err != nil {
		return err
	}
	room := roomForParts(r)
	f := parseFields(body, "")
	runID := f.requiredID("operation_run_id")
	items := parseObservations(f, "items", flaws, room, parseItem)
	if faults := f.faultless(); len(faults) > 0 {
		return errInvalidFields(withObservations(faults, items)...)
	}
	if err := s.mustBeRun(r.Context(), ws, runID); err != nil {
		return err
	}
	results := observe(r.Context(), items, seenItem.key,
		func(ctx context.Context, items []seenItem) ([]observed, error) {
			return s.writeItems(ctx, ws, runID, items, room)
		})
	return s.answerObserved(w, r, "inventory_item", results)
}

// mustBeRun is the error that says that the run which saw the items is not one of the workspace.
func (s *Server) mustBeRun(ctx context.Context, ws workspace.Scope, id int64) error {
	_, err := s.queries.GetRun(ctx, s.db, dbsqlc.GetRunParams{WorkspaceID: ws.ID(), ID: id})
	if errors.Is(err, pgx.ErrNoRows) {
		return errInvalidFields(fault{Pointer: "/operation_run_id", Detail: noSuchRun})
	}
	return err
}

// parseItem reads one item of a batch.
func parseItem(f *fields) seenItem {
	item := seenItem{
		pointer:    f.pointer,
		tenantID:   f.idOrZero("tenant_id"),
		policyType: f.requiredText("policy_type", maxName), externalID: f.requiredText("external_id", maxName),
		meta: "{}",
	}
	item.displayName, _ = f.text("display_name", maxDisplayName)
	item.category, _ = f.text("category", maxName)
	item.platform, _ = f.text("platform", maxName)
	if meta, ok := f.freeObject("meta"); ok {
		item.meta = string(meta)
	}
	if at, ok := f.instant("last_seen_at"); ok {
		item.lastSeenAt = pgtype.Timestamptz{Time: at, Valid: true}
		if time.Until(at) > maxFuture {
			f.fault("last_seen_at", "It is more than %s in the future.", maxFuture)
		}
	}
	return item
}

// maxDisplayName is how many characters the name of a customer's object may have.
const maxDisplayName = 1000

// writeItems records items no two of which have one key, and reads them again as they are then.
func (s *Server) writeItems(
	ctx context.Context, ws workspace.Scope, runID int64, items []seenItem, room *room,
) ([]observed, error) {
	p := dbsqlc.UpsertInventoryItemsParams{WorkspaceID: ws.ID(), OperationRunID: runID}
	for i, item := range items {
		p.Places = append(p.Places, int64(i))
		p.TenantIds = append(p.TenantIds, item.tenantID)
		p.PolicyTypes = append(p.PolicyTypes, item.policyType)
		p.ExternalIds = append(p.ExternalIds, item.externalID)
		p.DisplayNames = append(p.DisplayNames, item.displayName)
		p.Categories = append(p.Categories, item.category)
		p.Platforms = append(p.Platforms, item.platform)
		p.Metas = append(p.Metas, item.meta)
		p.LastSeenAts = append(p.LastSeenAts, item.lastSeenAt)
	}
	ctx = withPlanning(ctx, planForValues) // many rows at once, also into a table that was empty a moment ago
	written, err := s.queries.UpsertInventoryItems(ctx, s.db, p)
	if hasClass(err, "23") || err == nil && len(written) == 0 {
		if gone := s.mustBeRun(ctx, ws, runID); gone != nil {
			return nil, gone
		}
	}
	if err != nil {
		return nil, err
	}
	results := make([]observed, len(items))
	for i, item := range items {
		results[i].err = errInvalidFields(fault{Pointer: item.pointer + "/tenant_id", Detail: noSuchTenant})
	}
	_, err = s.queries.ListInventoryItemsByExternalID(ctx, observedRows(s.db, inventoryItemMembers, results, room), dbsqlc.ListInventoryItemsByExternalIDParams{
		WorkspaceID: ws.ID(), Places: p.Places, TenantIds: p.TenantIds, PolicyTypes: p.PolicyTypes, ExternalIds: p.ExternalIds,
	})
	if err != nil {
		return nil, err
	}
	for _, w := range written {
		if w.Created {
			results[w.Place].status = http.StatusCreated
		}
	}
	return results, nil
}
