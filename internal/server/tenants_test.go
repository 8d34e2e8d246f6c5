package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// newTenants adds so many tenants to a workspace, every other one with an external id, and returns
// their ids, the lowest first.
func newTenants(t *testing.T, h *harness, workspaceID int64, n int) []int64 {
	t.Helper()
	rows, err := h.pool.Query(t.Context(), `INSERT INTO tenants (workspace_id, name, external_id)
		SELECT $1, 'T' || n, CASE WHEN n % 2 = 0 THEN 'ext ' || n END FROM generate_series(1, $2::int) AS n RETURNING id`, workspaceID, n)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ids)
	return ids
}

func TestATenantIsShownWithAllThatItsTableHas(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := dbtest.NewWorkspace(t, h.pool)
	var want string // as PostgreSQL would have it
	var id int64
	if err := h.pool.QueryRow(t.Context(), `INSERT INTO tenants (workspace_id, name, external_id, created_at, updated_at)
		VALUES ($1, 'Contoso', 'ext-1', '2026-01-02 03:04:05Z', '2026-01-03 03:04:05Z') RETURNING id,
		format('{"id":%s,"workspace_id":%s,"name":"%s","external_id":"%s","created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-03T03:04:05Z"}',
			id, workspace_id, name, external_id)`, w.ID).Scan(&id, &want); err != nil {
		t.Fatal(err)
	}
	var columns int
	if err := h.pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_attribute WHERE attrelid = 'tenants'::regclass AND attnum > 0 AND NOT attisdropped").Scan(&columns); err != nil {
		t.Fatal(err)
	}
	got := h.get(t, http.StatusOK, w.Readonly.Subject, fmt.Sprintf("/workspaces/%d/tenants/%d", w.ID, id))
	if got.body != want || len(decode[map[string]any](t, got.body)) != columns {
		t.Errorf("the tenant is %s, not %s with %d members", got.body, want, columns)
	}
}

func TestTenantsAreListedTheNewestFirstAndPageByPage(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := dbtest.NewWorkspace(t, h.pool)
	ids := newTenants(t, h, w.ID, 7)
	newTenants(t, h, dbtest.NewWorkspace(t, h.pool).ID, 3)
	slices.Reverse(ids)
	path := fmt.Sprintf("/workspaces/%d/tenants", w.ID)
	for _, limit := range []int{1, 3, 7, 50} {
		var seen []int64
		h.visit(t, h.token(t, w.Readonly.Subject), fmt.Sprintf("%s?limit=%d", path, limit), func(p page) { seen = append(seen, p.ids()...) })
		if !slices.Equal(seen, ids) {
			t.Errorf("pages of %d show %v, not %v", limit, seen, ids)
		}
	}
}

func TestAnExternalIDFindsTheOneTenantOfTheWorkspaceThatHasIt(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w, other := dbtest.NewWorkspace(t, h.pool), dbtest.NewWorkspace(t, h.pool)
	ids := newTenants(t, h, w.ID, 4)
	newTenants(t, h, other.ID, 6) // with the same external ids, and one more
	for externalID, want := range map[string][]int64{"ext 2": ids[1:2], "ext 4": ids[3:], "ext 6": {}, "ext": {}, "EXT 2": {}} {
		path := fmt.Sprintf("/workspaces/%d/tenants?external_id=%s", w.ID, url.QueryEscape(externalID))
		if got := h.list(t, w.Readonly.Subject, path); !slices.Equal(got.ids(), want) || got.NextCursor != nil {
			t.Errorf("%q finds %v, want %v", externalID, got.ids(), want)
		}
	}
	// The list of which it is a cursor has its filter.
	list := fmt.Sprintf("/workspaces/%d/tenants", w.ID)
	h.refusesCursor(t, h.token(t, w.Readonly.Subject), list+"?external_id=x", *h.list(t, w.Readonly.Subject, list+"?limit=1").NextCursor)
}

// A page reads as many rows as it shows, out of the index that has them in its order, however many
// tenants there are and whatever PostgreSQL knows of the values.
func TestTenantsAreReadFromAnIndex(t *testing.T) {
	t.Parallel()
	pool, seen := newRecordedPool(t, dbtest.Fresh(t))
	h := newHarnessOn(t, pool, server.Options{})
	w := dbtest.NewWorkspace(t, pool)
	ids := newTenants(t, h, w.ID, 5000)
	for range 4 {
		newTenants(t, h, dbtest.NewWorkspace(t, pool).ID, 2000)
	}
	if _, err := pool.Exec(t.Context(), "VACUUM ANALYZE"); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	list := fmt.Sprintf("/workspaces/%d/tenants", w.ID)
	var last string
	h.visit(t, h.token(t, w.Readonly.Subject), list+"?limit=200&fields=id", func(p page) {
		if p.NextCursor != nil {
			last = *p.NextCursor
		}
	})
	for _, c := range []struct {
		path, statement string
		rows            int
	}{
		{list, "ListTenants", 51},
		{list + "?fields=name", "ListTenants", 51},
		{list + "?limit=200&cursor=" + last, "ListTenants", 200},
		{list + "?external_id=ext+2500", "ListTenants", 1},
		{list + "?external_id=none", "ListTenants", 0},
		{fmt.Sprintf("%s/%d", list, ids[2500]), "GetTenant", 1},
	} {
		for range 2 { // who was let in before brings the gate's question along
			h.get(t, http.StatusOK, w.Readonly.Subject, c.path)
			sent := seen.last(t, c.statement)
			for _, generic := range []bool{false, true} {
				plan, text := explain(t, conn, sent, generic)
				plan.visit(func(n planNode) {
					if n.Relation == "tenants" && (n.Type == "Seq Scan" || n.Index == "" || int(n.Rows*n.Loops) > c.rows || n.FilteredBy > 0) || n.Type == "Sort" && n.sorted() > 1 {
						t.Errorf("%s, generic %t: a %s of %s, %.0f rows and %.0f in vain:\n%s", c.path, generic, n.Type, n.Relation, n.Rows*n.Loops, n.FilteredBy, text)
					}
				})
				if int(plan.Rows) != c.rows {
					t.Errorf("%s, generic %t: %.0f rows, want %d", c.path, generic, plan.Rows, c.rows)
				}
			}
		}
	}
}
