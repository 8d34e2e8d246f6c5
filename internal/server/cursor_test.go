package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/runledger/runledger/internal/dbtest"
)

// refusesCursor wants a 400 that names the cursor and nothing else.
func (h *harness) refusesCursor(t *testing.T, token, path, cursor string) {
	t.Helper()
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	got := h.do(t, http.MethodGet, path+separator+"cursor="+url.QueryEscape(cursor), token)
	if got.status != http.StatusBadRequest {
		t.Errorf("GET %s with cursor %q: %d", path, cursor, got.status)
		return
	}
	if names := faulty(t, got); !slices.Equal(names, []string{"cursor"}) {
		t.Errorf("GET %s with cursor %q: %v are faulty", path, cursor, names)
	}
}

func TestACursorAlteredAnywhereIsRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := dbtest.NewWorkspace(t, h.pool)
	newRuns(t, h, w.ID, 3, 3)
	token := h.token(t, w.Readonly.Subject)
	path := fmt.Sprintf("/workspaces/%d/operation-runs?limit=1", w.ID)
	cursor := *h.list(t, w.Readonly.Subject, path).NextCursor
	if p := h.list(t, w.Readonly.Subject, path+"&cursor="+cursor); len(p.Data) != 1 {
		t.Fatalf("the cursor as it came gives %d rows", len(p.Data))
	}
	for i := range len(cursor) {
		for _, c := range []byte("A_-z9+/=.") {
			if cursor[i] != c {
				h.refusesCursor(t, token, path, cursor[:i]+string(c)+cursor[i+1:])
			}
		}
		// The nearest neighbour differs in the fewest bits, which a lax decoder drops at the end.
		h.refusesCursor(t, token, path, cursor[:i]+string(cursor[i]^1)+cursor[i+1:])
		h.refusesCursor(t, token, path, cursor[:i]+cursor[i+1:])
		h.refusesCursor(t, token, path, cursor[:i])
		h.refusesCursor(t, token, path, cursor[:i]+"A"+cursor[i:])
	}
	for _, altered := range []string{
		cursor + "A", cursor + "=", cursor + "==", cursor + " ", " " + cursor, cursor + cursor, cursor + ".", strings.ToLower(cursor),
		strings.ToUpper(cursor), strings.Repeat("A", len(cursor)), strings.Repeat("A", 1024), "null", "0", "1", "é",
	} {
		if altered != cursor {
			h.refusesCursor(t, token, path, altered)
		}
	}
	for _, control := range []string{cursor + "\n", "\r\n" + cursor, cursor[:20] + "\n" + cursor[20:], cursor[:42] + "\n", cursor + "\x00"} {
		h.refusesCursor(t, token, path, control)
	}
}

func TestACursorOpensItsOwnListAlone(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	other := newFixture(t, h)
	dbtest.AddMember(t, h.pool, other.ID, f.Owner.ID, "owner")
	newRuns(t, h, f.ID, 5, 5)
	newRuns(t, h, other.ID, 5, 5)
	token := h.token(t, f.Owner.Subject)
	list := fmt.Sprintf("/workspaces/%d/operation-runs", f.ID)
	own := list + "?type=inventory_sync&order=created_at"
	cursor := *h.list(t, f.Owner.Subject, own+"&limit=1").NextCursor

	for _, same := range []string{own, own + "&limit=3", list + "?order=created_at&type=inventory_sync"} {
		h.get(t, http.StatusOK, f.Owner.Subject, same+"&cursor="+cursor)
	}
	for _, foreign := range []string{
		list,
		list + "?order=created_at",
		list + "?type=inventory_sync",
		list + "?type=inventory_sync&order=-created_at",
		list + "?type=inventory_sync&order=updated_at",
		list + "?type=entra_group_sync&order=created_at",
		list + "?type=inventory_sync,entra_group_sync&order=created_at",
		own + "&status=completed",
		own + "&stalled=false",
		fmt.Sprintf("/workspaces/%d/operation-runs?type=inventory_sync&order=created_at", other.ID),
		fmt.Sprintf("/workspaces/%d/backup-schedules/%d/runs?type=inventory_sync&order=created_at", f.ID, f.schedule),
		fmt.Sprintf("/workspaces/%d/findings", f.ID),
		fmt.Sprintf("/workspaces/%d/inventory-items", f.ID),
		fmt.Sprintf("/workspaces/%d/backup-schedules", f.ID),
		fmt.Sprintf("/workspaces/%d/tenants", f.ID),
		"/workspaces",
	} {
		h.refusesCursor(t, token, foreign, cursor)
	}
}

func TestTheUsualOrderMayBeWrittenOutOnSomePagesOnly(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	newRuns(t, h, f.ID, 5, 5)
	token := h.token(t, f.Owner.Subject)
	silent := fmt.Sprintf("/workspaces/%d/operation-runs?limit=2", f.ID)
	written := silent + "&order=-created_at"
	for first, second := range map[string]string{silent: written, written: silent, silent + "&type=inventory_sync": written + "&type=inventory_sync"} {
		cursor := *h.list(t, f.Owner.Subject, first).NextCursor
		want := h.list(t, f.Owner.Subject, first+"&cursor="+cursor)
		if got := h.list(t, f.Owner.Subject, second+"&cursor="+cursor); !slices.Equal(got.ids(), want.ids()) {
			t.Errorf("behind %s the page of %s is another one", first, second)
		}
		h.refusesCursor(t, token, second+"&status=queued", cursor)
		h.refusesCursor(t, token, silent+"&order=created_at", cursor)
	}
	h.refusesCursor(t, token, silent, *h.list(t, f.Owner.Subject, silent+"&order=updated_at").NextCursor)
}

func TestACursorOfWorkspacesIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	a, b := dbtest.NewWorkspace(t, h.pool), dbtest.NewWorkspace(t, h.pool)
	dbtest.AddMember(t, h.pool, b.ID, a.Owner.ID, "readonly")
	dbtest.AddMember(t, h.pool, a.ID, b.Owner.ID, "readonly")
	first := h.list(t, a.Owner.Subject, "/workspaces?limit=1")
	second := h.list(t, a.Owner.Subject, "/workspaces?limit=1&cursor="+*first.NextCursor)
	if got := append(first.ids(), second.ids()...); !slices.Equal(got, []int64{a.ID, b.ID}) || second.NextCursor != nil {
		t.Errorf("the owner's workspaces are %v, not %d and %d", got, a.ID, b.ID)
	}
	h.refusesCursor(t, h.token(t, b.Owner.Subject), "/workspaces", *first.NextCursor)
}

func TestServersOfOneDatabaseOpenEachOthersCursors(t *testing.T) {
	t.Parallel()
	one, two := newHarness(t), newHarness(t)
	w := dbtest.NewWorkspace(t, one.pool)
	newRuns(t, one, w.ID, 3, 3)
	path := fmt.Sprintf("/workspaces/%d/operation-runs?limit=2", w.ID)
	cursor := *one.list(t, w.Readonly.Subject, path).NextCursor
	if p := two.list(t, w.Readonly.Subject, path+"&cursor="+cursor); len(p.Data) != 1 {
		t.Errorf("another server gives %d rows behind the cursor", len(p.Data))
	}
}
