package legacy

import "testing"

// The application does not know what the workspace is for: nobody is in it.
func TestTheWorkspaceOfTenantsWithoutOneIsMadeAgain(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]bool{"contract makes it": false, "expand makes it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := legacyDatabase(t)
			throughBackfill(t, address)
			run(t, address, "DELETE FROM workspaces WHERE slug = 'unassigned'; INSERT INTO workspaces (name, slug) VALUES ('Other', 'unassigned')")
			if again {
				expanding := open(t, address, Options{})
				must(t, expanding.Expand)
				expanding.Close()
				if got := one(t, address, "SELECT count(*)::text FROM workspaces WHERE slug = 'unassigned-2'"); got != "1" {
					t.Errorf("expand has made %s workspaces", got)
				}
			}
			must(t, open(t, address, Options{}).Contract)
			if got := one(t, address, "SELECT w.slug FROM tenants t JOIN workspaces w ON w.id = t.workspace_id WHERE t.id = 30"); got != "unassigned-2" {
				t.Errorf("the tenant without a workspace is in %s", got)
			}
		})
	}
}
